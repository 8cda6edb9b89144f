package preflight

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

// NodeInput is a node and what is planned for it.
type NodeInput struct {
	// Node with its edit, and Live without; nil when it does not exist.
	Node, Live *v1alpha1.SeiNode
	// Plan that is due or under way; nil for none.
	Plan *v1alpha1.Plan
	// Target is what the node should run.
	Target v1alpha1.PlanTarget
	// Edited says that the command is about to write the node.
	Edited bool
	// Foreign names another live controller that writes the node; empty for none.
	Foreign string
	// Refused are objects that the plan could not write, with why, and ClientSide says that the caller may not write at all.
	Refused []Refusal
	// PortForward says that pods are reached through the API server.
	PortForward bool
	// Command is the command that runs, for hints: "seictl node plan ax-0 -n fleet".
	Command string
}

// Refusal is an object that a plan could not write.
type Refusal struct {
	Kind, Name string
	Err        error
}

// NodeFacts are what the checks of a node look at.
type NodeFacts struct {
	NodeInput
	Namespace   Read[bool]
	CertManager CertManager
	// Issuer is nil when the target names none.
	Issuer         *IssuerFacts
	Schemas        Read[Schemas]
	Settings       Read[settings.Settings]
	ServiceAccount Read[bool]
	Reviews        []Access
	Client         Read[bool]
	ClientAccess   []Access
	Me             Read[Me]
	Access         []Access
	Operator       Operator
}

// Operator is what is known of the operator.
type Operator struct {
	Deployment Read[Deployment]
	Lease      Read[Lease]
}

// Drives says whether an operator is installed, or runs.
func (o Operator) Drives() bool { return o.installed() || o.leads() }

func (o Operator) installed() bool {
	return o.Deployment.State == Found && o.Deployment.Value.Wanted > 0
}

// leads says whether an operator holds the Lease.
func (o Operator) leads() bool {
	return o.Lease.State == Found && o.Lease.Value.Live && lock.ParseHolder(o.Lease.Value.Holder).Kind == lock.KindOperator
}

func (c *Collector) operator(ctx context.Context) Operator {
	return ask(c, "operator", func() Operator {
		return Operator{
			Deployment: c.readDeployment(ctx, lock.Namespace, operatorDeployment),
			Lease:      c.readLease(ctx, lock.Namespace, lock.Name),
		}
	})
}

// operatorDeployment is what an operator is installed as.
const operatorDeployment = "seictl-operator"

// tls says whether TLS runs or is to run: then the proxy and the client's token matter.
func (in *NodeInput) tls() bool {
	return in.Target.SidecarTLS != nil || in.Node.Status.CurrentSidecarTLS != nil
}

// issues says whether the plan has a certificate issued: then the issuer matters now.
func (in *NodeInput) issues() bool {
	t := in.Plan.Task(v1alpha1.TaskApplySidecarCert)
	return t != nil
}

// Node gathers what the checks of a node need.
func (c *Collector) Node(ctx context.Context, in NodeInput) *NodeFacts {
	f := &NodeFacts{NodeInput: in}
	ns := in.Node.Namespace
	// Later questions depend on these.
	together(
		func() { f.Settings = c.settings(ctx) },
		func() { f.Operator = c.operator(ctx) },
	)
	gather := []func(){
		func() { f.Namespace = c.exists(ctx, &corev1.Namespace{}, "", ns) },
		func() { f.Schemas = c.schemas(ctx) },
		func() { f.Me = c.me(ctx) },
		func() {
			f.ServiceAccount = c.exists(ctx, &corev1.ServiceAccount{}, ns, f.Settings.Value.NodeServiceAccount)
		},
		func() { f.Access = c.access(ctx, subject{}, f.need().Rights()) },
	}
	if in.tls() {
		gather = append(gather,
			func() { f.Reviews = c.reviews(ctx, ns, f.Settings.Value.NodeServiceAccount) },
			func() { f.Client = c.exists(ctx, &corev1.ServiceAccount{}, settings.Namespace, clientAccount) },
			func() { f.ClientAccess = c.clientAccess(ctx, ns, in.Node.Name) })
	}
	if tls := in.Target.SidecarTLS; tls != nil && tls.IssuerName != "" {
		gather = append(gather,
			func() { f.CertManager = c.certManager(ctx, ns) },
			func() {
				f.Issuer = c.issuerFacts(ctx, ns, tls)
				f.Issuer.Command = func(issuer, kind string) string {
					return fmt.Sprintf("%s --tls --issuer %s --issuer-kind %s", in.Command, issuer, kind)
				}
			})
	}
	together(gather...)
	return f
}

func (f *NodeFacts) need() Need {
	return Need{
		Namespace: f.Node.Namespace, Plan: f.Plan, Edits: f.Edited, Creates: f.Live == nil, Drives: !f.Operator.Drives(),
		PortForward: f.PortForward, TLS: f.tls(),
	}
}

// reviews says whether the proxies of a namespace may ask who calls and whether they may.
func (c *Collector) reviews(ctx context.Context, namespace, account string) []Access {
	return c.access(ctx, serviceAccount(namespace, account), []Right{
		{Group: "authentication.k8s.io", Resource: "tokenreviews", Verb: "create"},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews", Verb: "create"},
	})
}

// clientAccess says whether the client's ServiceAccount may use the sidecar of a node.
func (c *Collector) clientAccess(ctx context.Context, namespace, node string) []Access {
	return c.access(ctx, serviceAccount(settings.Namespace, clientAccount),
		named(node, rights(namespace, groupSei, "seinodetasks", "get", "create")))
}

// nodeCheck is one check of a node.
type nodeCheck struct {
	name string
	run  func(*NodeFacts) Line
}

// nodeChecks in the order in which they are told.
var nodeChecks = []nodeCheck{
	{"namespace", checkNamespace},
	// Where the certificate comes from.
	{"cert-manager-installed", issuing(func(f *NodeFacts) Line { return checkCertManagerInstalled(&f.CertManager) })},
	{"cert-manager-serving", issuing(func(f *NodeFacts) Line { return checkCertManagerServing(&f.CertManager) })},
	{"issuer-exists", issuing(func(f *NodeFacts) Line { return checkIssuerExists(f.Issuer) })},
	{"issuer-ready", issuing(func(f *NodeFacts) Line { return checkIssuerReady(f.Issuer) })},
	{"issuer-ca-secret", issuing(func(f *NodeFacts) Line { return checkIssuerCASecret(f.Issuer) })},
	// What the platform must have.
	{"crd-fields", func(f *NodeFacts) Line { return checkFields(f.Schemas, "SeiNode") }},
	{"settings", checkSettings},
	{"node-service-account", checkServiceAccount},
	{"node-token-review", withTLS(checkReviews)},
	{"client-account", withTLS(func(f *NodeFacts) Line { return checkClient(f.Client) })},
	{"client-access", withTLS(checkClientAccess)},
	// Who does it.
	{"your-rights", checkRights},
	{"other-writers", checkWriters},
	{"operator", func(f *NodeFacts) Line { return checkOperator(f.Operator, applies) }},
	{"objects", checkObjects},
}

// CheckNode runs every check over the facts.
func CheckNode(f *NodeFacts) []Line {
	out := make([]Line, len(nodeChecks))
	for i, c := range nodeChecks {
		out[i] = c.run(f)
		out[i].Check = c.name
	}
	return out
}

// issuing runs a check where the target has an issuer; it only fails where the plan has a certificate issued.
func issuing(check func(*NodeFacts) Line) func(*NodeFacts) Line {
	return func(f *NodeFacts) Line {
		if f.Issuer == nil {
			return skipped("no certificate is issued")
		}
		return check(f).unless(f.issues())
	}
}

// withTLS runs a check where TLS runs or is to run.
func withTLS(check func(*NodeFacts) Line) func(*NodeFacts) Line {
	return func(f *NodeFacts) Line {
		if !f.tls() {
			return skipped("TLS is off")
		}
		return check(f)
	}
}

func checkNamespace(f *NodeFacts) Line {
	ns := f.Node.Namespace
	switch f.Namespace.State {
	case Found:
		return ok("namespace " + ns + " exists")
	case Absent:
		return failed("namespace "+ns+" not found", "kubectl create namespace "+ns)
	}
	return cannotTell("whether namespace "+ns+" exists", f.Namespace.Err)
}

// checkFields: the API server keeps every field that we write.
func checkFields(s Read[Schemas], kind string) Line {
	const hint = "seictl install base --apply"
	switch {
	case s.State != Found:
		return cannotTell("whether the CRD in the cluster knows our fields", s.Err)
	case s.Value.Unpublished[kind]:
		return skipped("cannot tell yet: the API server serves " + kind + ", and has not published its schema")
	case !s.Value.Served[kind]:
		return failed("the cluster has no CRD for "+kind, hint)
	case len(s.Value.Unknown[kind]) > 0:
		return failed(fmt.Sprintf("the CRD of %s in the cluster does not know %s: the API server would drop it in silence",
			kind, few(s.Value.Unknown[kind])), hint)
	}
	return ok("the CRD in the cluster knows every field of " + kind)
}

var editSettings = fmt.Sprintf("kubectl edit configmap %s -n %s", settings.ConfigMapName, settings.Namespace)

// checkSettings: the settings can be read and name the images that the plan needs.
func checkSettings(f *NodeFacts) Line {
	lacking := ""
	if err := resources.CheckImages(f.Node, f.Target, f.Settings.Value); err != nil {
		lacking = oneLine(err)
	}
	return settingsLine(f.Settings.State, f.Settings.Err, lacking)
}

// settingsLine says how the reading of the settings went, and which images they lack.
func settingsLine(state State, err error, lacking string) Line {
	where := fmt.Sprintf("ConfigMap %s/%s", settings.Namespace, settings.ConfigMapName)
	switch {
	case state == Absent && lacking != "":
		return failed(where+" not found, and the defaults do not do: "+lacking, "seictl install base --apply")
	case state == Absent:
		return warning(where+" not found: the default settings are used", "seictl install base --apply")
	case state == Broken:
		return failed(short(err), editSettings)
	case state != Found:
		return cannotTell("what the settings are", err)
	case lacking != "":
		return failed(lacking, editSettings)
	}
	return ok("the settings name every image that the plan needs")
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func checkServiceAccount(f *NodeFacts) Line {
	return accountLine(f.ServiceAccount, f.Node.Namespace, f.Settings.Value.NodeServiceAccount)
}

func accountLine(account Read[bool], ns, name string) Line {
	switch account.State {
	case Found:
		return ok("ServiceAccount " + name + " exists")
	case Absent:
		return failed(fmt.Sprintf("ServiceAccount %s not found in namespace %s: the pods of nodes need it", name, ns), prepareNamespace(ns, name, false))
	}
	return cannotTell("whether ServiceAccount "+name+" exists", account.Err)
}
