package engine

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/tasks"
)

func contextWithCause(t *testing.T) (context.Context, context.CancelCauseFunc) {
	t.Helper()
	return context.WithCancelCause(t.Context())
}

func TestConsentIsConsumed(t *testing.T) {
	consents := func(n *v1alpha1.SeiNode) bool { return n.Annotations[v1alpha1.AnnotationAllowTLSRemoval] != "" }
	n := running(secretTLS("x"))
	w := newWorld(t, n, stamp(t, n, objects(t, n))...)
	w.settle()

	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = nil })
	w.settle()
	require.NotNil(t, w.node().Status.CurrentSidecarTLS, "without consent the node keeps TLS")
	require.Empty(t, w.ran)
	require.Contains(t, w.events[len(w.events)-1], "Warning RemovalNeedsConsent")

	w.edit(func(n *v1alpha1.SeiNode) {
		n.Annotations = map[string]string{v1alpha1.AnnotationAllowTLSRemoval: "true", "other": "x"}
	})
	w.script[v1alpha1.TaskDeleteRBACProxyConfig] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("later"), nil }
	w.settle()
	require.Nil(t, w.node().Status.CurrentSidecarTLS)
	require.True(t, consents(w.node()), "not while the plan is active")

	delete(w.script, v1alpha1.TaskDeleteRBACProxyConfig)
	w.settle()
	require.False(t, consents(w.node()))
	require.Equal(t, "x", w.node().Annotations["other"])

	// Consumed: a later removal needs consent of its own, and nothing more is written.
	clear(w.requests)
	w.pass()
	require.Zero(t, w.requests["patch node"])
}

func TestConsentStays(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.SeiNode){
		"while the spec has TLS":    func(n *v1alpha1.SeiNode) { n.Status.CurrentSidecarTLS, n.Spec.Paused = nil, true },
		"before the node runs":      func(n *v1alpha1.SeiNode) { n.Status, n.Spec.Paused = v1alpha1.SeiNodeStatus{}, true },
		"while the spec repeats it": func(*v1alpha1.SeiNode) {},
	} {
		t.Run(name, func(t *testing.T) {
			n := running(secretTLS("x"))
			objs := stamp(t, n, objects(t, n))
			n.Annotations[v1alpha1.AnnotationAllowTLSRemoval] = "true"
			change(n)
			w := newWorld(t, n, objs...)
			w.settle()
			require.Equal(t, "true", w.node().Annotations[v1alpha1.AnnotationAllowTLSRemoval])
		})
	}
}

// Without the right to write the node the pass fails, and whoever drives waits longer each time.
func TestConsentThatCannotBeConsumed(t *testing.T) {
	n := running(nil)
	n.Annotations[v1alpha1.AnnotationAllowTLSRemoval] = "true"
	w := newWorld(t, n, objects(t, n)...)
	w.fail["patch node"] = forbidden("seinodes")
	_, err := w.engine.Pass(t.Context(), w.node())
	require.ErrorContains(t, err, "allow-sidecar-tls-removal")
}
