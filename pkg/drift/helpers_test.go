package drift

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

func issuer(name, kind string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{IssuerName: name, IssuerKind: kind}
}

func secret(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{SecretName: name}
}

func observed(tls *v1alpha1.SidecarTLSConfig) *v1alpha1.ObservedSidecarTLS {
	if tls == nil {
		return nil
	}
	return &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *tls.Normalize(), FingerprintSHA256: "f1"}
}

// settled is a Running node on image v1 whose spec and status agree on TLS.
func settled(tls *v1alpha1.SidecarTLSConfig) *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sei", Name: "n0", UID: "node-uid"},
		Spec: v1alpha1.SeiNodeSpec{
			ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{},
			Sidecar: &v1alpha1.SidecarConfig{TLS: tls},
		},
		Status: v1alpha1.SeiNodeStatus{
			Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1", CurrentSidecarTLS: observed(tls),
		},
	}
	n.Status.AppliedConfigHash = resources.ConfigApplyParamsFor(n).Hash
	return n
}

func defaults() *settings.Settings {
	s := settings.Default()
	s.SidecarImage = "sidecar:v1"
	return &s
}

// running is the snapshot of a node whose objects are what its status says.
func running(n *v1alpha1.SeiNode) *Snapshot {
	owner, s := resources.OwnerOf(n), *defaults()
	current := v1alpha1.PlanTarget{Image: n.Status.CurrentImage, SidecarTLS: n.Status.CurrentSidecarTLS.Config()}
	sts := resources.StatefulSet(owner, resources.NodeTemplateFor(n, current, s))
	sts.Generation, sts.Status.ObservedGeneration, sts.Status.UpdateRevision = 1, 1, "r1"
	snap := &Snapshot{
		StatefulSet: sts,
		Service:     resources.Service(owner, resources.ServiceParamsFor(n, current)),
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "n0-0", Labels: map[string]string{appsv1.StatefulSetRevisionLabel: "r1"}},
			Spec:       sts.Spec.Template.Spec,
		},
	}
	if tls := current.SidecarTLS; tls != nil {
		snap.ProxyConfig = resources.ProxyConfig(owner, resources.RBACProxyConfigParamsFor(n))
		if tls.IssuerName != "" {
			snap.Certificate = resources.Certificate(owner, resources.SidecarCertParamsFor(n, tls, s))
		}
	}
	return snap
}

func evaluate(n *v1alpha1.SeiNode, s *Snapshot, held bool) Report {
	return Evaluate(Input{Node: n, Snapshot: s, Settings: defaults(), Held: held})
}

// of returns the findings on a subject.
func of(r Report, subject string) (out []Finding) {
	for _, f := range r.Findings {
		if f.Subject == subject {
			out = append(out, f)
		}
	}
	return out
}
