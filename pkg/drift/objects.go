package drift

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

// checkObjects compares the owned objects with the render of what runs.
func checkObjects(in Input, r Report) Report {
	if in.Snapshot == nil || in.Node.Status.Phase != v1alpha1.PhaseRunning ||
		(r.NodeUpdateDue() && !in.Held && !in.Node.Spec.Paused && !blocked(in, r)) {
		return r
	}
	s, node, owner := in.Snapshot, in.Node, resources.OwnerOf(in.Node)
	current := v1alpha1.PlanTarget{Image: node.Status.CurrentImage, SidecarTLS: node.Status.CurrentSidecarTLS.Config()}
	tls := current.SidecarTLS

	certName := resources.CertificateName(node.Name)
	switch {
	case tls != nil && tls.IssuerName != "":
		want := resources.Certificate(owner, resources.SidecarCertParamsFor(node, tls, *in.Settings))
		r.object(v1alpha1.TaskApplySidecarCert, "Certificate", certName, s.Certificate != nil,
			func() []string { return DiffFields(want.Spec, s.Certificate.Spec, "spec") })
	case s.Certificate != nil:
		r.superfluous(v1alpha1.TaskDeleteSidecarCert, "Certificate", certName)
	}

	configName := resources.ProxyConfigName(node.Name)
	switch {
	case tls != nil:
		want := resources.ProxyConfig(owner, resources.RBACProxyConfigParamsFor(node))
		r.object(v1alpha1.TaskApplyRBACProxyConfig, "ConfigMap", configName, s.ProxyConfig != nil,
			func() []string { return DiffFields(want.Data, s.ProxyConfig.Data, "data") })
	case s.ProxyConfig != nil && !s.ProxyRuns():
		r.superfluous(v1alpha1.TaskDeleteRBACProxyConfig, "ConfigMap", configName)
	}

	r.object(v1alpha1.TaskApplyStatefulSet, "StatefulSet", node.Name, s.StatefulSet != nil, nil)

	want := resources.Service(owner, CurrentService(node, s))
	r.object(v1alpha1.TaskApplyService, "Service", node.Name, s.Service != nil,
		func() []string { return DiffFields(want.Spec, s.Service.Spec, "spec") })
	return r
}

// blocked says whether the Secret that runs is unsound and keeps an update from starting that leaves TLS alone. Nothing
// but the repair of a lost Certificate may ever make it sound again.
func blocked(in Input, r Report) bool {
	v := in.Snapshot.CurrentVerdict
	return v != nil && !v.Ready && !r.Has(v1alpha1.SidecarTLSDrift)
}

// object adds a finding when an object is missing or differs.
func (r *Report) object(task v1alpha1.TaskType, kind, name string, found bool, diff func() []string) {
	f := Finding{
		Subject: SubjectObjects, To: kind + "/" + name, Cause: v1alpha1.ObjectDrift, Task: task, Action: ActionApply,
	}
	switch {
	case !found:
		f.Why = fmt.Sprintf("%s %s is missing", kind, name)
	case diff == nil:
		return
	default:
		if f.Fields = diff(); len(f.Fields) == 0 {
			return
		}
		f.From = f.To
		f.Why = fmt.Sprintf("%s %s differs in %s", kind, name, strings.Join(f.Fields, ", "))
	}
	r.Findings = append(r.Findings, f)
}

// superfluous adds a finding for an object that nothing needs.
func (r *Report) superfluous(task v1alpha1.TaskType, kind, name string) {
	r.Findings = append(r.Findings, Finding{
		Subject: SubjectObjects, From: kind + "/" + name, Cause: v1alpha1.ObjectDrift, Task: task, Action: ActionDelete,
		Why: fmt.Sprintf("%s %s is left over: nothing that runs needs it", kind, name),
	})
}

// checkPodTemplate reports what the template would change at the next pod cycle for a reason that has no plan.
func checkPodTemplate(in Input, r Report) Report {
	if in.Snapshot == nil || in.Snapshot.StatefulSet == nil || in.Node.Status.Phase != v1alpha1.PhaseRunning ||
		in.Node.Status.Plan.Active() {
		return r
	}
	s, node := in.Snapshot, in.Node
	current := v1alpha1.PlanTarget{Image: node.Status.CurrentImage, SidecarTLS: node.Status.CurrentSidecarTLS.Config()}
	want := resources.StatefulSet(resources.OwnerOf(node), resources.NodeTemplateFor(node, current, *in.Settings))
	if fields := DiffFields(want.Spec.Template, s.StatefulSet.Spec.Template, ""); len(fields) > 0 {
		r.Findings = append(r.Findings, Finding{
			Subject: SubjectPodTemplate, Fields: fields,
			Why: "the pod template differs in " + strings.Join(fields, ", ") + ": takes effect at the next pod cycle",
		})
	}
	if rev, current := s.UpdateRevision(); current && s.PodRevision() != "" && s.PodRevision() != rev {
		r.Findings = append(r.Findings, Finding{
			Subject: SubjectPodTemplate, From: s.PodRevision(), To: rev,
			Why: "the pod runs another revision than the StatefulSet's template: the template takes effect at the next pod cycle",
		})
	}
	return r
}

// checkConfig reports overrides and peers that a running node does not have.
func checkConfig(in Input, r Report) Report {
	applied := in.Node.Status.AppliedConfigHash
	if applied == "" || in.Node.Status.Phase != v1alpha1.PhaseRunning {
		return r
	}
	if now := configHash(in.Node); now != applied {
		r.Findings = append(r.Findings, Finding{
			Subject: SubjectConfig, From: applied, To: now,
			Why: "spec.overrides or spec.peers changed since they were applied: they are not applied to a running node",
		})
	}
	return r
}

// noConfigHash is the hash of a node without overrides and peers, which most nodes are: nothing is hashed for them.
var noConfigHash = resources.ConfigApplyParamsFor(&v1alpha1.SeiNode{}).Hash

func configHash(node *v1alpha1.SeiNode) string {
	if len(node.Spec.Overrides) == 0 && len(node.Spec.Peers) == 0 {
		return noConfigHash
	}
	return resources.ConfigApplyParamsFor(node).Hash
}

// toMap converts a typed object to its JSON shape; nil when it has none.
func toMap(v any) map[string]any {
	if m, ok := v.(map[string]string); ok {
		out := make(map[string]any, len(m))
		for k, s := range m {
			out[k] = s
		}
		return out
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(v)
	if err != nil {
		return nil
	}
	return m
}

// CurrentService are the params of the Service of what runs: its sidecar port is the live pod's, as an edit of the port
// takes effect at the next pod cycle.
func CurrentService(node *v1alpha1.SeiNode, s *Snapshot) v1alpha1.ServiceParams {
	current := v1alpha1.PlanTarget{Image: node.Status.CurrentImage, SidecarTLS: node.Status.CurrentSidecarTLS.Config()}
	p := resources.ServiceParamsFor(node, current)
	if s != nil && s.Pod != nil {
		p.SidecarPort = resources.SidecarPortOf(&s.Pod.Spec)
	}
	return p
}
