package preflight

import (
	"fmt"
	"slices"
	"strings"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// Right is one thing that somebody may do or not.
type Right struct {
	Namespace, Group, Resource, Subresource, Name, Verb string
}

// Access is a right and whether somebody has it.
type Access struct {
	Right
	Allowed bool
	// Err says that nobody may tell.
	Err error
}

// resource is the resource as kubectl writes it.
func (r Right) resource() string {
	s := r.Resource
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Subresource != "" {
		s += "/" + r.Subresource
	}
	return s
}

// rights are the verbs on a resource; a subresource comes after a slash.
func rights(namespace, group, resource string, verbs ...string) []Right {
	resource, sub, _ := strings.Cut(resource, "/")
	out := make([]Right, len(verbs))
	for i, v := range verbs {
		out[i] = Right{Namespace: namespace, Group: group, Resource: resource, Subresource: sub, Verb: v}
	}
	return out
}

func named(name string, rs []Right) []Right {
	for i := range rs {
		rs[i].Name = name
	}
	return rs
}

const (
	groupSei         = "sei.io"
	groupApps        = "apps"
	groupCertManager = "cert-manager.io"
	// clientAccount calls the sidecars.
	clientAccount = "seictl-client"
	// engineLease is what a driver holds.
	engineLease = "seictl-engine"
)

// task rights: what each task does, in the namespace of the node. An apply may create.
func taskRights(ns string, t v1alpha1.TaskType) []Right {
	apply := func(group, resource string) []Right { return rights(ns, group, resource, "get", "patch", "create") }
	secret := rights(ns, "", "secrets", "get")
	issuance := slices.Concat(secret, rights(ns, groupCertManager, "certificates", "get"),
		rights(ns, groupCertManager, "certificaterequests", "list"))
	switch t {
	case v1alpha1.TaskEnsureDataPVC:
		return rights(ns, "", "persistentvolumeclaims", "get", "create")
	case v1alpha1.TaskApplySidecarCert:
		return apply(groupCertManager, "certificates")
	case v1alpha1.TaskWaitForSidecarTLSSecret:
		return issuance
	case v1alpha1.TaskApplyRBACProxyConfig:
		return apply("", "configmaps")
	case v1alpha1.TaskApplyStatefulSet:
		return slices.Concat(apply(groupApps, "statefulsets"), rights(ns, groupApps, "controllerrevisions", "get"))
	case v1alpha1.TaskApplyService:
		return apply("", "services")
	case v1alpha1.TaskReplacePod:
		return rights(ns, "", "pods", "get", "delete")
	case v1alpha1.TaskObserveImage:
		return rights(ns, "", "pods", "get")
	case v1alpha1.TaskObserveSidecarTLS:
		return secret
	case v1alpha1.TaskDeleteRBACProxyConfig:
		return rights(ns, "", "configmaps", "get", "delete")
	case v1alpha1.TaskDeleteSidecarCert:
		return slices.Concat(rights(ns, groupCertManager, "certificates", "get", "list", "delete"), rights(ns, "", "secrets", "get", "delete"))
	}
	return nil
}

// callsSidecar are the tasks that talk to the sidecar.
var callsSidecar = []v1alpha1.TaskType{
	v1alpha1.TaskObserveSidecarTLS, v1alpha1.TaskConfigApply, v1alpha1.TaskConfigValidate, v1alpha1.TaskMarkReady,
}

// Need says what a caller is about to do.
type Need struct {
	Namespace string
	Plan      *v1alpha1.Plan
	// Edits says that the node is edited, and Creates that it does not exist yet.
	Edits, Creates bool
	// Drives says that the caller runs the plan itself, no operator does.
	Drives bool
	// PortForward says that pods are reached through the API server, and TLS that their sidecars want a token.
	PortForward, TLS bool
}

// Rights are everything that the need takes, each once.
func (n Need) Rights() []Right {
	out := rights(n.Namespace, groupSei, "seinodes", "get")
	if n.Edits {
		out = append(out, rights(n.Namespace, groupSei, "seinodes", "patch")...)
	}
	if n.Creates {
		out = append(out, rights(n.Namespace, groupSei, "seinodes", "create")...)
	}
	if n.Drives && n.Plan != nil {
		out = append(out, n.driving()...)
	}
	return unique(out)
}

// unique are rights without those that were there before.
func unique(rs []Right) []Right {
	var out []Right
	seen := map[Right]bool{}
	for _, r := range rs {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}

func (n Need) driving() []Right {
	ns, sys := n.Namespace, settings.Namespace
	out := slices.Concat(
		rights(ns, groupSei, "seinodes", "list", "watch"), rights(ns, groupSei, "seinodes/status", "patch"),
		rights(ns, "", "pods", "list", "watch"), rights(ns, groupApps, "statefulsets", "list", "watch"),
		named(engineLease, rights(sys, "coordination.k8s.io", "leases", "get", "update")),
	)
	calls := false
	for i := range n.Plan.Tasks {
		t := n.Plan.Tasks[i].Type
		out = append(out, taskRights(ns, t)...)
		calls = calls || slices.Contains(callsSidecar, t)
	}
	if calls && n.PortForward {
		out = append(out, rights(ns, "", "pods/portforward", "create")...)
	}
	if calls && n.TLS {
		out = append(out, named(clientAccount, rights(sys, "", "serviceaccounts/token", "create"))...)
	}
	return out
}

// missing says which rights somebody lacks: "patch, create statefulsets.apps; delete pods", by namespace.
func missing(access []Access) (byNamespace map[string]string, unknown error) {
	byNamespace = map[string]string{}
	type key struct{ ns, resource string }
	verbs := map[key][]string{}
	var order []key
	for _, a := range access {
		switch {
		case a.Err != nil:
			unknown = a.Err
		case !a.Allowed:
			k := key{a.Namespace, a.resource()}
			if verbs[k] == nil {
				order = append(order, k)
			}
			verbs[k] = append(verbs[k], a.Verb)
		}
	}
	for _, k := range order {
		if byNamespace[k.ns] != "" {
			byNamespace[k.ns] += "; "
		}
		byNamespace[k.ns] += fmt.Sprintf("%s %s", strings.Join(verbs[k], ", "), k.resource)
	}
	return byNamespace, unknown
}
