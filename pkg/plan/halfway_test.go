package plan

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

// A rollback that fails on its way may leave the previous template with the pod of the update, or the previous pod with what
// the update stamped. The update that overtakes it must not take such a node for one that it has not touched.
func TestOvertakenRollbackLeavesTheNodeHalfway(t *testing.T) {
	for name, tc := range map[string]struct {
		pod   string
		image string
		tls   *v1alpha1.SidecarTLSConfig
	}{
		"the pod is not back":      {pod: "r2", image: "seid:v1"},
		"the image was stamped":    {pod: "r1", image: "seid:v2"},
		"TLS was stamped":          {pod: "r1", image: "seid:v1", tls: secretTLS("x")},
		"no pod, TLS was stamped":  {pod: "", image: "seid:v1", tls: secretTLS("x")},
		"pod and stamps are wrong": {pod: "r2", image: "seid:v2", tls: secretTLS("x")},
	} {
		t.Run(name, func(t *testing.T) {
			n := consent(runningNode(nil))
			n.Spec.Image = "seid:v3"
			p := build(n)
			n.Status.CurrentImage, n.Status.CurrentSidecarTLS = tc.image, observed(tc.tls)
			s := live("r1", tc.pod)
			if tc.pod != "" {
				s.Sidecar = drift.SidecarParked
			}
			n.Status.Plan = p
			d := Resolve(input(n, s), Options{})
			require.Equal(t, p.ID, d.Plan.ID, "what waits for its observers is not let go")

			n.Spec.Image = "seid:v4"
			d = Resolve(input(n, s), Options{})
			require.Equal(t, v1alpha1.NodeUpdate, d.Plan.Kind)
			require.Equal(t, p.Previous, d.Plan.Previous, "what takes its place returns to where it would")

			after := AfterFailure(input(n, s), failAt(p, v1alpha1.TaskApplyStatefulSet))
			require.NotNil(t, after.Rollback, "the node is in its cycle")
			require.Equal(t, p.Previous, after.Rollback.Previous)
		})
	}
}

// The initialisation that was superseded has stamped TLS; the one that takes its place wants none. Until the stamp is gone
// nobody reaches the sidecar.
func TestNodeInitTakesBackAStampOfTLS(t *testing.T) {
	n := consent(runningNode(secretTLS("x")))
	n.Status.Phase, n.Spec.Sidecar = v1alpha1.PhaseInitializing, nil
	p := BuildNodeInitPlan(input(n, live("r1", "r1")))
	require.Equal(t, tasks("pvc sts svc pod image tls apply-cfg validate ready"), types(p))
	require.Nil(t, p.Task(v1alpha1.TaskObserveSidecarTLS).Params.ObserveSidecarTLS.TLSSecret)
}

// Somebody changed the image of the template by hand: the pod ran another than the status says before the plan began. Nothing was
// applied: a failure before the pod cycle is tried again, and a pod that comes back is let go.
func TestAnImageChangedByHandIsNotHalfway(t *testing.T) {
	n := runningNode(nil)
	n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: secretTLS("x")}
	s := live("r2", "r2")
	s.Pod.Spec.Containers = []corev1.Container{{Name: "seid", Image: "seid:hotfix"}}
	in := input(n, s)
	p := BuildRunningPlan(in)
	require.Equal(t, "seid:hotfix", p.Previous.Image)
	require.Equal(t, n.Status.CurrentImage, p.Previous.ObservedImage)
	require.False(t, in.Applied(p))
	require.Nil(t, AfterFailure(in, failAt(p, v1alpha1.TaskWaitForSidecarTLSSecret)).Rollback)

	n.Status.CurrentImage = "seid:v9"
	require.True(t, in.Applied(p), "an observer has stamped since")
}
