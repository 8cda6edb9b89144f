package plan

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
)

func TestHold(t *testing.T) {
	held := func() *v1alpha1.SeiNode {
		n := runningNode(nil)
		n.Spec.Sidecar.TLS = secretTLS("x")
		n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = "monday"
		p := failAt(build(n), v1alpha1.TaskReplacePod)
		after := AfterFailure(input(n, live("r2", "r2")), p)
		n.Status.Hold = after.Hold
		return n
	}
	require.Equal(t, "sha-1", held().Status.Hold.SecretSHA256)
	require.Equal(t, "monday", held().Status.Hold.RetrySeen)

	for name, tc := range map[string]struct {
		change func(*v1alpha1.SeiNode, *drift.Snapshot)
		held   bool
	}{
		"nothing changed":           {func(*v1alpha1.SeiNode, *drift.Snapshot) {}, true},
		"another edit":              {func(n *v1alpha1.SeiNode, _ *drift.Snapshot) { n.Spec.PodLabels = map[string]string{"a": "b"} }, true},
		"another target":            {func(n *v1alpha1.SeiNode, _ *drift.Snapshot) { n.Spec.Image = "seid:v2" }, false},
		"another Secret":            {func(n *v1alpha1.SeiNode, _ *drift.Snapshot) { n.Spec.Sidecar.TLS = secretTLS("y") }, false},
		"another certificate in it": {func(_ *v1alpha1.SeiNode, s *drift.Snapshot) { s.TargetVerdict.SecretSHA256 = "sha-2" }, false},
		"the Secret went":           {func(_ *v1alpha1.SeiNode, s *drift.Snapshot) { s.TargetVerdict = &certs.Verdict{} }, false},
		"the Secret cannot be read": {func(_ *v1alpha1.SeiNode, s *drift.Snapshot) { s.TargetVerdict = &certs.Verdict{Unknown: true} }, true},
		"a retry was requested": {func(n *v1alpha1.SeiNode, _ *drift.Snapshot) {
			n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = "tuesday"
		}, false},
		"the request was taken out": {func(n *v1alpha1.SeiNode, _ *drift.Snapshot) {
			delete(n.Annotations, v1alpha1.AnnotationRetryRequestedAt)
		}, false},
		"the node is being looked at":  {func(*v1alpha1.SeiNode, *drift.Snapshot) {}, true},
		"the spec was put back to off": {func(n *v1alpha1.SeiNode, _ *drift.Snapshot) { n.Spec.Sidecar.TLS = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			n, s := held(), live("r1", "r1")
			tc.change(n, s)
			require.Equal(t, tc.held, Held(n, s))
			d := Resolve(input(n, s), Options{})
			require.Equal(t, !tc.held, d.ClearHold)
			if tc.held {
				require.Nil(t, d.Plan)
				require.Equal(t, IdleHeld, d.Idle)
				require.Equal(t, n.Status.Hold.Reason, d.Detail)
			}
		})
	}
	t.Run("offline it stands", func(t *testing.T) { require.True(t, Held(held(), nil)) })
	t.Run("objects are repaired all the same", func(t *testing.T) {
		d := Resolve(drifted(input(held(), live("r1", "r1")), v1alpha1.TaskApplyService), Options{})
		require.Equal(t, v1alpha1.NodeRepair, d.Plan.Kind)
		require.False(t, d.ClearHold)
	})
	t.Run("an issuer's Secret releases nothing", func(t *testing.T) {
		n := runningNode(nil)
		n.Spec.Sidecar.TLS = issuerTLS("a")
		s := live("r2", "r2")
		s.TargetVerdict = nil
		n.Status.Hold = AfterFailure(input(n, s), failAt(build(n), v1alpha1.TaskReplacePod)).Hold
		require.Empty(t, n.Status.Hold.SecretSHA256)
		require.True(t, Held(n, s))
	})
	t.Run("a held initialisation", func(t *testing.T) {
		n := held()
		n.Status.Phase = v1alpha1.PhaseFailed
		require.Equal(t, IdleHeld, Resolve(input(n, live("r1", "r1")), Options{}).Idle)
		n.Spec.Image = "seid:v2"
		require.Equal(t, v1alpha1.NodeInit, Resolve(input(n, live("r1", "r1")), Options{}).Plan.Kind)
	})
}

func TestGates(t *testing.T) {
	sound, unsound := &certs.Verdict{Ready: true}, &certs.Verdict{Message: "it has expired"}
	for name, tc := range map[string]struct {
		from, to        *v1alpha1.SidecarTLSConfig
		image           string
		current, target *certs.Verdict
		blocked         string
	}{
		"to a Secret that is sound":             {nil, secretTLS("x"), "seid:v1", sound, sound, ""},
		"to a Secret that is not":               {nil, secretTLS("x"), "seid:v1", sound, unsound, "the Secret to change to is not sound: it has expired"},
		"to a Secret that was not read":         {issuerTLS("a"), secretTLS("x"), "seid:v1", sound, nil, "it was not read"},
		"to a Secret that cannot be read":       {issuerTLS("a"), secretTLS("x"), "seid:v1", sound, &certs.Verdict{Unknown: true, Message: "forbidden"}, "forbidden"},
		"to an issuer: its wait task is a gate": {nil, issuerTLS("a"), "seid:v1", unsound, nil, ""},
		"from an expired Secret to an issuer":   {secretTLS("x"), issuerTLS("a"), "seid:v1", unsound, nil, ""},
		"to off: never":                         {secretTLS("x"), nil, "seid:v2", unsound, nil, ""},
		"image, TLS off":                        {nil, nil, "seid:v2", nil, nil, ""},
		"image, the Secret is sound":            {secretTLS("x"), secretTLS("x"), "seid:v2", sound, sound, ""},
		"image, the Secret is not":              {secretTLS("x"), secretTLS("x"), "seid:v2", unsound, unsound, "the pod would not come back on its TLS Secret: it has expired"},
		"image, an issuer's is not":             {issuerTLS("a"), issuerTLS("a"), "seid:v2", unsound, nil, "the pod would not come back"},
		"image, and TLS kept without consent":   {issuerTLS("a"), nil, "seid:v2", unsound, nil, "the pod would not come back"},
		"both, to a sound Secret":               {issuerTLS("a"), secretTLS("x"), "seid:v2", unsound, sound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := runningNode(tc.from)
			if name == "to off: never" {
				consent(n)
			}
			n.Spec.Image, n.Spec.Sidecar.TLS = tc.image, tc.to
			s := live("r1", "r1")
			s.CurrentVerdict, s.TargetVerdict = tc.current, tc.target
			d := Resolve(input(n, s), Options{})
			if tc.blocked == "" {
				require.Equal(t, v1alpha1.NodeUpdate, d.Plan.Kind)
				return
			}
			require.Nil(t, d.Plan)
			require.Equal(t, IdleBlocked, d.Idle)
			require.Contains(t, d.Detail, tc.blocked)
		})
	}
	t.Run("a blocked update lets the lost Certificate be repaired", func(t *testing.T) {
		n := runningNode(issuerTLS("a"))
		n.Spec.Image = "seid:v2"
		s := live("r1", "r1")
		s.CurrentVerdict = unsound
		in := drifted(input(n, s), v1alpha1.TaskApplySidecarCert)
		d := Resolve(in, Options{})
		require.Equal(t, v1alpha1.NodeRepair, d.Plan.Kind)

		// And it runs to its end while the update stays blocked.
		n.Status.Plan = d.Plan
		d = Resolve(in, Options{})
		require.Equal(t, n.Status.Plan, d.Plan)
		require.False(t, d.New)
	})
	t.Run("a failed attempt is no way around a gate", func(t *testing.T) {
		n := runningNode(secretTLS("x"))
		n.Spec.Image = "seid:v2"
		n.Status.Plan = failAt(build(n), v1alpha1.TaskApplyStatefulSet)
		s := live("r1", "r1")
		s.CurrentVerdict = unsound
		require.Equal(t, IdleBlocked, Resolve(input(n, s), Options{}).Idle)
	})
}
