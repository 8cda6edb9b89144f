package drift

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

func TestObjectsFollowCurrent(t *testing.T) {
	type object struct {
		task   v1alpha1.TaskType
		action Action
	}
	takenBack := func(n *v1alpha1.SeiNode, s *Snapshot) {
		// The spec went a -> b -> a while only the Certificate had been changed.
		s.Certificate.Spec.IssuerRef.Name = "b"
	}
	for name, tc := range map[string]struct {
		running *v1alpha1.SidecarTLSConfig
		change  func(*v1alpha1.SeiNode, *Snapshot)
		held    bool
		want    []object
	}{
		"nothing differs, TLS off":         {nil, nil, false, nil},
		"nothing differs, issuer":          {issuer("a", ""), nil, false, nil},
		"nothing differs, provisioned":     {secret("x"), nil, false, nil},
		"an issuer edit that was undone":   {issuer("a", ""), takenBack, false, []object{{v1alpha1.TaskApplySidecarCert, ActionApply}}},
		"a namespaced issuer is another":   {issuer("a", "Issuer"), func(_ *v1alpha1.SeiNode, s *Snapshot) { s.Certificate.Spec.IssuerRef.Kind = "ClusterIssuer" }, false, []object{{v1alpha1.TaskApplySidecarCert, ActionApply}}},
		"a deleted Certificate":            {issuer("a", ""), func(_ *v1alpha1.SeiNode, s *Snapshot) { s.Certificate = nil }, false, []object{{v1alpha1.TaskApplySidecarCert, ActionApply}}},
		"a deleted proxy configuration":    {secret("x"), func(_ *v1alpha1.SeiNode, s *Snapshot) { s.ProxyConfig = nil }, false, []object{{v1alpha1.TaskApplyRBACProxyConfig, ActionApply}}},
		"another key in the configuration": {secret("x"), func(_ *v1alpha1.SeiNode, s *Snapshot) { s.ProxyConfig.Data["other"] = "x" }, false, []object{{v1alpha1.TaskApplyRBACProxyConfig, ActionApply}}},
		"a deleted StatefulSet":            {nil, func(_ *v1alpha1.SeiNode, s *Snapshot) { s.StatefulSet = nil }, false, []object{{v1alpha1.TaskApplyStatefulSet, ActionApply}}},
		"a deleted Service":                {nil, func(_ *v1alpha1.SeiNode, s *Snapshot) { s.Service = nil }, false, []object{{v1alpha1.TaskApplyService, ActionApply}}},
		"a Service with another port":      {nil, func(_ *v1alpha1.SeiNode, s *Snapshot) { s.Service.Spec.Ports[0].Port = 1 }, false, []object{{v1alpha1.TaskApplyService, ActionApply}}},
		"a Service that selects more":      {nil, func(_ *v1alpha1.SeiNode, s *Snapshot) { s.Service.Spec.Selector["a"] = "b" }, false, []object{{v1alpha1.TaskApplyService, ActionApply}}},
		"a leftover Certificate": {secret("x"), func(n *v1alpha1.SeiNode, s *Snapshot) {
			s.Certificate = running(settled(issuer("a", ""))).Certificate
		}, false, []object{{v1alpha1.TaskDeleteSidecarCert, ActionDelete}}},
		"leftovers of a removal": {nil, func(n *v1alpha1.SeiNode, s *Snapshot) {
			on := running(settled(issuer("a", "")))
			s.Certificate, s.ProxyConfig = on.Certificate, on.ProxyConfig
		}, false, []object{{v1alpha1.TaskDeleteSidecarCert, ActionDelete}, {v1alpha1.TaskDeleteRBACProxyConfig, ActionDelete}}},
		"a configuration that a pod still mounts stays": {nil, func(n *v1alpha1.SeiNode, s *Snapshot) {
			on := running(settled(secret("x")))
			s.ProxyConfig, s.Pod = on.ProxyConfig, on.Pod
		}, false, nil},
		"not judged while an update is due": {issuer("a", ""), func(n *v1alpha1.SeiNode, s *Snapshot) {
			n.Spec.Image = "seid:v2"
			s.Certificate, s.Service = nil, nil
		}, false, nil},
		"judged against what runs while an update is held": {issuer("a", ""), func(n *v1alpha1.SeiNode, s *Snapshot) {
			n.Spec.Sidecar.TLS = issuer("b", "")
			s.Certificate.Spec.IssuerRef.Name = "b"
		}, true, []object{{v1alpha1.TaskApplySidecarCert, ActionApply}}},
		"not judged before the node runs": {nil, func(n *v1alpha1.SeiNode, s *Snapshot) {
			n.Status.Phase = v1alpha1.PhaseInitializing
			s.Service = nil
		}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := settled(tc.running)
			snap := running(n)
			if tc.change != nil {
				tc.change(n, snap)
			}
			r := evaluate(n, snap, tc.held)
			var got []object
			for _, f := range of(r, SubjectObjects) {
				require.Equal(t, v1alpha1.ObjectDrift, f.Cause)
				require.NotEmpty(t, f.Why)
				got = append(got, object{f.Task, f.Action})
			}
			require.Equal(t, tc.want, got)
		})
	}
}

// An image update that a gate blocks because the Secret is unsound must not keep the Certificate from coming back: nothing
// else would ever make the Secret sound.
func TestObjectsWhileAnUpdateIsBlocked(t *testing.T) {
	n := settled(issuer("a", ""))
	n.Spec.Image = "seid:v2"
	snap := running(n)
	snap.Certificate = nil
	snap.CurrentVerdict = &certs.Verdict{Reason: v1alpha1.ReasonTLSSecretNotFound}
	found := of(evaluate(n, snap, false), SubjectObjects)
	require.Len(t, found, 1)
	require.Equal(t, v1alpha1.TaskApplySidecarCert, found[0].Task)

	snap.CurrentVerdict = &certs.Verdict{Ready: true}
	require.Empty(t, of(evaluate(n, snap, false), SubjectObjects), "a sound Secret blocks nothing")
}

func TestPodTemplateFindings(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1alpha1.SeiNode, *Snapshot)
		fields []string
	}{
		"no difference": {func(*v1alpha1.SeiNode, *Snapshot) {}, nil},
		"a pod label": {func(n *v1alpha1.SeiNode, _ *Snapshot) { n.Spec.PodLabels = map[string]string{"team": "infra"} },
			[]string{"metadata.labels.team"}},
		"a pod label that was taken out": {func(_ *v1alpha1.SeiNode, s *Snapshot) {
			s.StatefulSet.Spec.Template.Labels["team"] = "infra"
		}, []string{"metadata.labels.team"}},
		"the sidecar's image": {func(n *v1alpha1.SeiNode, _ *Snapshot) { n.Spec.Sidecar.Image = "sidecar:v2" },
			[]string{"spec.initContainers[sei-sidecar].image"}},
		"the sidecar's resources": {func(n *v1alpha1.SeiNode, _ *Snapshot) {
			n.Spec.Sidecar.Resources = &corev1.ResourceRequirements{Limits: cpu("1")}
		}, []string{
			"spec.initContainers[sei-sidecar].resources.limits", "spec.initContainers[sei-sidecar].resources.requests",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := settled(issuer("a", ""))
			snap := running(n)
			tc.change(n, snap)
			r := evaluate(n, snap, false)
			require.False(t, r.NodeUpdateDue())
			require.Empty(t, r.Causes(), "no plan by itself")
			found := of(r, SubjectPodTemplate)
			if tc.fields == nil {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, tc.fields, found[0].Fields)
			require.Contains(t, found[0].Why, "takes effect at the next pod cycle")
		})
	}

	t.Run("the pod runs another revision", func(t *testing.T) {
		n := settled(nil)
		snap := running(n)
		snap.StatefulSet.Status.UpdateRevision = "r2"
		found := of(evaluate(n, snap, false), SubjectPodTemplate)
		require.Len(t, found, 1)
		require.Equal(t, "r1", found[0].From)
		require.Equal(t, "r2", found[0].To)
	})
	t.Run("not while a plan is under way", func(t *testing.T) {
		n := settled(nil)
		n.Spec.PodLabels = map[string]string{"team": "infra"}
		snap := running(n)
		snap.StatefulSet.Spec.Template.Labels = nil
		n.Status.Plan = &v1alpha1.Plan{Phase: v1alpha1.PlanActive}
		require.Empty(t, of(evaluate(n, snap, false), SubjectPodTemplate))
	})
}

func TestConfigFindings(t *testing.T) {
	n := settled(nil)
	n.Spec.Overrides = map[string]string{"a": "1"}
	found := of(evaluate(n, nil, false), SubjectConfig)
	require.Len(t, found, 1)
	require.Contains(t, found[0].Why, "not applied to a running node")
	require.Empty(t, found[0].Cause)

	n.Status.AppliedConfigHash = resources.ConfigApplyParamsFor(n).Hash
	require.Empty(t, of(evaluate(n, nil, false), SubjectConfig))

	n.Spec.Overrides = nil
	require.Len(t, of(evaluate(n, nil, false), SubjectConfig), 1, "taking the last override out shows as well")
}
