package preflight

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/settings"
)

// defaultAccount is the ServiceAccount that `seictl install base --node-namespace` creates.
var defaultAccount = settings.Default().NodeServiceAccount

// prepareNamespace is the command that gives a namespace what its nodes need.
func prepareNamespace(ns, account string, bindOnly bool) string {
	switch {
	case account == defaultAccount:
		return "seictl install base --apply --node-namespace " + ns
	case bindOnly:
		return fmt.Sprintf("kubectl create clusterrolebinding %s-auth-delegator-%s --clusterrole=system:auth-delegator --serviceaccount=%s:%s",
			account, ns, ns, account)
	}
	return fmt.Sprintf("kubectl create serviceaccount %s -n %s", account, ns)
}

// checkReviews: the proxy may ask the API server who calls. Without it every call is refused, and the node looks fine.
func checkReviews(f *NodeFacts) Line {
	return reviewLine(f.Reviews, f.Node.Namespace, f.Settings.Value.NodeServiceAccount)
}

func reviewLine(access []Access, ns, account string) Line {
	who := fmt.Sprintf("ServiceAccount %s/%s", ns, account)
	lacking, unknown := missing(access)
	switch {
	case unknown != nil:
		l := cannotTell("whether "+who+" may review tokens", unknown)
		l.Hint = fmt.Sprintf("kubectl auth can-i create tokenreviews.authentication.k8s.io --as=system:serviceaccount:%s:%s", ns, account)
		return l
	case len(lacking) > 0:
		return failed(fmt.Sprintf("%s may not %s: the proxy would refuse everybody", who, lacking[""]), prepareNamespace(ns, account, true))
	}
	return ok(who + " may review tokens and access")
}

// checkClient: the account that calls sidecars exists.
func checkClient(r Read[bool]) Line {
	what := fmt.Sprintf("ServiceAccount %s/%s", settings.Namespace, clientAccount)
	switch r.State {
	case Found:
		return ok(what + " exists")
	case Absent:
		return failed(what+", which calls sidecars, not found", "seictl install base --apply")
	}
	return cannotTell("whether "+what+" exists", r.Err)
}

// checkClientAccess: the proxy will let that account in.
func checkClientAccess(f *NodeFacts) Line {
	return clientAccessLine(f.ClientAccess, f.Node.Namespace)
}

func clientAccessLine(access []Access, ns string) Line {
	what := fmt.Sprintf("ServiceAccount %s/%s", settings.Namespace, clientAccount)
	lacking, unknown := missing(access)
	switch {
	case unknown != nil:
		return cannotTell("whether "+what+" may use sidecars", unknown)
	case len(lacking) > 0:
		return failed(fmt.Sprintf("%s may not %s in namespace %s: the proxy would answer 403", what, lacking[ns], ns), "seictl install base --apply")
	}
	return ok(what + " may use the sidecar")
}

// checkRights: the caller may do each thing that the plan takes.
func checkRights(f *NodeFacts) Line { return rightsLine(f.Access, f.Me) }

// rightsLine says what the caller may not do. What is the same in several namespaces is said once.
func rightsLine(access []Access, me Read[Me]) Line {
	lacking, unknown := missing(access)
	if len(lacking) == 0 {
		if unknown != nil {
			return cannotTell("what you may do", unknown)
		}
		return ok(fmt.Sprintf("you may do all that it takes (%d rights)", len(access)))
	}
	var parts []string
	where := map[string][]string{}
	for _, ns := range slices.Sorted(maps.Keys(lacking)) {
		if where[lacking[ns]] = append(where[lacking[ns]], ns); len(where[lacking[ns]]) == 1 {
			parts = append(parts, lacking[ns])
		}
	}
	for i, what := range parts {
		parts[i] = what + " " + inNamespaces(where[what])
	}
	return failed(fmt.Sprintf("you (%s) may not: %s", userOf(me), strings.Join(parts, "; ")), grant(access, userOf(me)))
}

// inNamespaces is "in namespace a", or "in namespaces a, b and 3 more".
func inNamespaces(names []string) string {
	if len(names) == 1 {
		return "in namespace " + names[0]
	}
	return "in namespaces " + few(names)
}

// grant is what somebody with more rights runs. The names of the bindings say for whom they are.
func grant(access []Access, user string) string {
	who := "--user=" + user
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(user)), "-")
	if account, isAccount := strings.CutPrefix(user, "system:serviceaccount:"); isAccount {
		who = "--serviceaccount=" + account
		name = strings.ReplaceAll(account, ":", "-")
	}
	var out []string
	for _, a := range access {
		if a.Allowed || a.Err != nil {
			continue
		}
		role, kind := roleFor(a.Right)
		command := fmt.Sprintf("kubectl create rolebinding %s-%s --%s=%s %s -n %s", role, name, kind, role, who, a.Namespace)
		if !slices.Contains(out, command) {
			out = append(out, command)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " && ")
}

// roleFor is the role of `seictl install base` that has a right.
func roleFor(r Right) (name, kind string) {
	switch {
	case r.Namespace != settings.Namespace:
		return "seictl-driver", "clusterrole"
	case r.Resource == "configmaps" || strings.HasPrefix(r.Name, rolloutLease):
		return "seictl-fleet", "role"
	}
	return "seictl-driver", "role"
}

// gitOps are tools that write objects from a repository, and how they mark what is theirs.
var gitOps = []struct{ tool, annotation, label, hint string }{
	{"Argo CD", "argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance", "argocd app diff %s"},
	{"Flux", "", "kustomize.toolkit.fluxcd.io/name", "flux diff kustomization %s"},
	{"Flux", "", "helm.toolkit.fluxcd.io/name", "flux get helmreleases %s"},
}

// managedBy says which tool writes an object from a repository, and the command that shows it; empty for none.
func managedBy(o metav1.Object) (tool, name, hint string) {
	for _, g := range gitOps {
		name := o.GetLabels()[g.label]
		if id := o.GetAnnotations()[g.annotation]; g.annotation != "" && id != "" {
			name, _, _ = strings.Cut(id, ":")
		}
		if name != "" {
			return g.tool, name, fmt.Sprintf(g.hint, name)
		}
	}
	return "", "", ""
}

// checkWriters: nobody takes back what is about to be written.
func checkWriters(f *NodeFacts) Line {
	live := f.Live
	if live == nil {
		live = f.Node
	}
	key := live.Namespace + "/" + live.Name
	if f.Foreign != "" {
		return failed("the controller "+f.Foreign+" writes this node as well: two of them would undo each other; stop it",
			"kubectl get deployments -A | grep "+f.Foreign)
	}
	if p := metav1.GetControllerOf(live); p != nil && p.Kind == "SeiNodeDeployment" {
		if !f.Edited {
			return ok("SeiNodeDeployment " + p.Name + " stamps this node out, and nothing is edited here")
		}
		return failed(fmt.Sprintf("SeiNode %s is a child of SeiNodeDeployment %s, which would overwrite the change: edit its template", key, p.Name),
			editTemplate(p.Name, f))
	}
	if tool, name, hint := managedBy(live); tool != "" {
		if !f.Edited {
			return ok(fmt.Sprintf("%s (%s) writes this node, and nothing is edited here", tool, name))
		}
		return warning(fmt.Sprintf("%s (%s) writes this node and may take the change back: make it in the repository", tool, name), hint)
	}
	return ok("nobody else writes this node" + humans(live))
}

// editTemplate is the edit of the node as one of its parent's template.
func editTemplate(parent string, f *NodeFacts) string {
	spec := map[string]any{}
	if f.Node.Spec.Image != f.Live.Spec.Image {
		spec["image"] = f.Node.Spec.Image
	}
	if now, was := f.Node.SidecarTLS(), f.Live.SidecarTLS(); !now.Equal(was) {
		tls := any(nil)
		if now != nil {
			// A merge patch keeps what it does not name: the other source goes.
			tls = map[string]any{"issuerName": orNull(now.IssuerName), "issuerKind": orNull(now.IssuerKind), "secretName": orNull(now.SecretName)}
		}
		spec["sidecar"] = map[string]any{"tls": tls}
	}
	if len(spec) == 0 {
		return fmt.Sprintf("kubectl edit seinodedeployment %s -n %s", parent, f.Node.Namespace)
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": spec}}})
	if err != nil {
		return fmt.Sprintf("kubectl edit seinodedeployment %s -n %s", parent, f.Node.Namespace)
	}
	return fmt.Sprintf("kubectl patch seinodedeployment %s -n %s --type=merge -p '%s'", parent, f.Node.Namespace, patch)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// humans names who wrote the spec, besides ourselves.
func humans(n *v1alpha1.SeiNode) string {
	var out []string
	for _, m := range n.ManagedFields {
		if m.Subresource == "" && !strings.HasPrefix(m.Manager, "seictl-") && !slices.Contains(out, m.Manager) {
			out = append(out, m.Manager)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " by itself; written before with " + few(out)
}

// applies is what acts where it is not a rollout.
const applies = "node apply"

// checkOperator: somebody is there when a pod is rescheduled at night. who is what edits the nodes, and drives them where no
// operator does.
func checkOperator(o Operator, who string) Line {
	name := lock.Namespace + "/" + operatorDeployment
	switch {
	case o.leads():
		return ok(lock.ParseHolder(o.Lease.Value.Holder).Display() + " drives: " + who + " edits, and watches it work")
	case o.installed() && o.Deployment.Value.Available == 0:
		return failed("Deployment "+name+" has no available pod: nobody would carry out the plan; see to it, or add --drive",
			fmt.Sprintf("kubectl rollout status deployment %s -n %s --timeout=2m", operatorDeployment, lock.Namespace))
	case o.installed():
		return ok("Deployment " + name + " drives: " + who + " edits, and watches it work")
	case o.Deployment.State == Absent:
		return warning("no operator is installed: "+who+" drives, and a pod that is rescheduled later waits for somebody's mark-ready",
			"seictl install operator --image IMAGE --apply")
	}
	return cannotTell("whether an operator is installed", o.Deployment.Err)
}

// checkObjects: the API server, and the ownership of what is there, let the plan through.
func checkObjects(f *NodeFacts) Line {
	if len(f.Refused) == 0 {
		if f.Plan == nil {
			return skipped("no plan is due")
		}
		return ok("a dry run of every object went through")
	}
	var out []string
	for _, r := range f.Refused {
		out = append(out, oneLine(r.Err))
	}
	r := f.Refused[0]
	return failed(strings.Join(out, "; "), fmt.Sprintf("kubectl get %s %s -n %s -o yaml --show-managed-fields",
		strings.ToLower(r.Kind), r.Name, f.Node.Namespace))
}
