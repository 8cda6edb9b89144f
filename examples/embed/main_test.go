package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/settings"
)

// The documentation shows this very code, and it is short.
func TestDocumentationShowsThisCode(t *testing.T) {
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(source), "// docs:embed\n")
	require.True(t, ok)
	code, _, ok := strings.Cut(rest, "// docs:end\n")
	require.True(t, ok)
	code = strings.TrimSpace(code)
	require.Less(t, len(strings.Split(code, "\n")), 50)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "library.md"))
	require.NoError(t, err)
	require.Contains(t, string(page), "```go\n"+code+"\n```")
}

// A new node gets its plan in the first pass; the second one is due at once.
func TestReconcile(t *testing.T) {
	scheme, err := operator.NewScheme()
	require.NoError(t, err)
	n := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0", UID: "uid"},
		Spec: v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{}}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(n).WithObjects(n).Build()
	platform := settings.Default()
	platform.SidecarImage = "sidecar:v1"
	r := &NodeReconciler{Client: c, Engine: engine.New(engine.Options{
		Client: c, Live: c, Settings: func() settings.Settings { return platform },
	})}
	key := client.ObjectKeyFromObject(n)
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
	require.NoError(t, err)
	require.Equal(t, time.Millisecond, result.RequeueAfter)
	require.NoError(t, c.Get(t.Context(), key, n))
	require.Equal(t, v1alpha1.NodeInit, n.Status.Plan.Kind)

	result, err = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: "fleet", Name: "gone"}})
	require.NoError(t, err)
	require.Zero(t, result)
}
