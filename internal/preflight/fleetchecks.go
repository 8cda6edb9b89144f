package preflight

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// rolloutLease is how the names of the Leases of rollouts begin.
const rolloutLease = "seictl-rollout-"

// placed is what a check says of a namespace; empty for the cluster.
type placed struct {
	namespace string
	Line
}

// fleetCheck is one check of a rollout. What it does not need is not told.
type fleetCheck struct {
	name string
	run  func(*FleetFacts) []placed
}

// fleetChecks in the order in which they are told.
var fleetChecks = []fleetCheck{
	// Where the certificates come from.
	{"cert-manager-installed", fleetIssuing(func(f *FleetFacts) Line { return checkCertManagerInstalled(&f.CertManager) })},
	{"cert-manager-serving", fleetIssuing(func(f *FleetFacts) Line { return checkCertManagerServing(&f.CertManager) })},
	{"issuer-exists", eachIssuer(anyIssuer, checkIssuerExists)},
	{"issuer-ready", eachIssuer(thatExists, checkIssuerReady)},
	{"issuer-ca-secret", eachIssuer(thatHasACA, checkIssuerCASecret)},
	{"tls-secret", checkFleetSecrets},
	// What the platform must have.
	{"crd-fields", checkFleetFields},
	{"settings", clusterWide(checkFleetSettings)},
	{"node-service-account", eachNamespace(false, func(f *FleetFacts, ns *FleetNamespace) Line {
		return accountLine(ns.ServiceAccount, ns.Name, f.Settings.NodeServiceAccount)
	})},
	{"node-token-review", eachNamespace(true, func(f *FleetFacts, ns *FleetNamespace) Line {
		return reviewLine(ns.Reviews, ns.Name, f.Settings.NodeServiceAccount)
	})},
	{"client-account", func(f *FleetFacts) []placed {
		if !f.tls() {
			return nil
		}
		return []placed{{Line: checkClient(f.Client)}}
	}},
	{"client-access", eachNamespace(true, func(_ *FleetFacts, ns *FleetNamespace) Line { return clientAccessLine(ns.ClientAccess, ns.Name) })},
	// Who does it.
	{"your-rights", clusterWide(func(f *FleetFacts) Line { return rightsLine(f.Access, f.Me) })},
	{"operator", clusterWide(func(f *FleetFacts) Line { return checkOperator(f.Operator, "the rollout").unless(!f.Drive) })},
}

// CheckFleet runs every check over the facts. What holds, or fails, in many namespaces in the same words is told once.
func CheckFleet(f *FleetFacts) []Line {
	out := []Line{}
	for _, c := range fleetChecks {
		for _, l := range merge(c.run(f)) {
			l.Check = c.name
			out = append(out, l)
		}
	}
	return out
}

func clusterWide(check func(*FleetFacts) Line) func(*FleetFacts) []placed {
	return func(f *FleetFacts) []placed { return []placed{{Line: check(f)}} }
}

// fleetIssuing runs a check where certificates are issued.
func fleetIssuing(check func(*FleetFacts) Line) func(*FleetFacts) []placed {
	return func(f *FleetFacts) []placed {
		if len(f.Issuers) == 0 {
			return nil
		}
		return []placed{{Line: check(f)}}
	}
}

// eachIssuer runs a check over the issuers to which it applies. Without cert-manager there are none, and that was told.
func eachIssuer(applies func(*IssuerFacts) bool, check func(*IssuerFacts) Line) func(*FleetFacts) []placed {
	return func(f *FleetFacts) []placed {
		var out []placed
		for _, i := range f.Issuers {
			if f.CertManager.Missing.State != Absent && applies(i.IssuerFacts) {
				out = append(out, placed{i.Namespace, check(i.IssuerFacts)})
			}
		}
		return out
	}
}

func anyIssuer(*IssuerFacts) bool    { return true }
func thatExists(i *IssuerFacts) bool { return i.Named.State == Found }
func thatHasACA(i *IssuerFacts) bool { return thatExists(i) && i.Named.Value.CASecret != "" }

// eachNamespace runs a check over the namespaces; tls says that only those matter whose nodes shall have TLS.
func eachNamespace(tls bool, check func(*FleetFacts, *FleetNamespace) Line) func(*FleetFacts) []placed {
	return func(f *FleetFacts) []placed {
		var out []placed
		for i := range f.Namespaces {
			if ns := &f.Namespaces[i]; ns.TLS || !tls {
				out = append(out, placed{ns.Name, check(f, ns)})
			}
		}
		return out
	}
}

// checkFleetSecrets: a Secret that is provisioned is there and of the right type. Whether it fits is judged for each node.
func checkFleetSecrets(f *FleetFacts) []placed {
	var out []placed
	for _, s := range f.Secrets {
		where := s.Namespace + "/" + s.Name
		create := fmt.Sprintf("kubectl create secret tls %s -n %s --cert=tls.crt --key=tls.key", s.Name, s.Namespace)
		var l Line
		switch {
		case s.Type.State == Absent:
			l = failed("Secret "+where+" not found", create)
		case s.Type.State != Found:
			l = cannotTell("whether Secret "+where+" exists", s.Type.Err)
		case s.Type.Value != corev1.SecretTypeTLS:
			l = failed(fmt.Sprintf("Secret %s is of type %s, wanted %s", where, s.Type.Value, corev1.SecretTypeTLS),
				fmt.Sprintf("kubectl delete secret %s -n %s && %s", s.Name, s.Namespace, create))
		default:
			l = ok("Secret " + where + " exists; whether it fits is judged for each node")
		}
		out = append(out, placed{s.Namespace, l})
	}
	if more := len(f.secrets) - len(f.Secrets); more > 0 {
		out = append(out, placed{Line: skipped(fmt.Sprintf("%d more Secrets were not looked at: each is judged when its node has its turn", more))})
	}
	return out
}

func checkFleetFields(f *FleetFacts) []placed {
	out := []placed{{Line: checkFields(f.Schemas, "SeiNode")}}
	if l := checkFields(f.Schemas, "SeiNodeDeployment"); f.templates && l != out[0].Line {
		out = append(out, placed{Line: l})
	}
	return out
}

func checkFleetSettings(f *FleetFacts) Line {
	var lacking []string
	for _, what := range slices.Sorted(maps.Keys(f.unnamed)) {
		lacking = append(lacking, fmt.Sprintf("%s (%s)", what, few(f.unnamed[what])))
	}
	return settingsLine(f.Read.State, f.Read.Err, strings.Join(lacking, "; "))
}

// merge tells once what is the same in many namespaces.
func merge(lines []placed) []Line {
	type key struct {
		result  Result
		message string
	}
	var order []key
	same := map[key][]placed{}
	for _, l := range lines {
		k := key{l.Result, without(l.Message, l.namespace)}
		if same[k] == nil {
			order = append(order, k)
		}
		same[k] = append(same[k], l)
	}
	var out []Line
	for _, k := range order {
		out = append(out, merged(same[k]))
	}
	return out
}

// without is a text without the name of a namespace, where it is a word of its own.
func without(text, namespace string) string {
	if namespace == "" {
		return text
	}
	return regexp.MustCompile(`(^|[^a-z0-9-])`+regexp.QuoteMeta(namespace)+`($|[^a-z0-9-])`).ReplaceAllString(text, "${1}NAMESPACE${2}")
}

func merged(same []placed) Line {
	l := same[0].Line
	if len(same) == 1 {
		return l
	}
	var others, all, hints []string
	for i := range same {
		if all = append(all, same[i].namespace); i > 0 {
			others = append(others, same[i].namespace)
		}
		if h := same[i].Hint; h != "" && !slices.Contains(hints, h) {
			hints = append(hints, h)
		}
	}
	l.Message += "; the same " + inNamespaces(others)
	switch flag := "--node-namespace "; {
	case strings.HasSuffix(l.Hint, flag+same[0].namespace):
		l.Hint = strings.TrimSuffix(l.Hint, same[0].namespace) + strings.Join(all, ",")
	default:
		l.Hint = strings.Join(hints, " && ")
	}
	return l
}
