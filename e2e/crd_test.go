//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/crdcases"
)

// crdCluster is a client of the cluster in $KUBECONFIG, and a namespace that lives as long as the test.
func crdCluster(t *testing.T) (client.Client, string) {
	t.Helper()
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	require.NoError(t, err)
	cfg.QPS, cfg.Burst = 200, 400
	scheme := runtime.NewScheme()
	require.NoError(t, corev1.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	require.NoError(t, err)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-crd-"}}
	require.NoError(t, c.Create(t.Context(), ns))
	t.Cleanup(func() {
		// The test's own context has ended by now.
		if err := c.Delete(context.Background(), ns); err != nil {
			t.Logf("deleting namespace %s: %v", ns.Name, err)
		}
	})
	return client.WithFieldValidation(c, metav1.FieldValidationStrict), ns.Name
}

// The same cases run offline in package config; here the API server itself is asked.
func TestCRDRules(t *testing.T) {
	c, namespace := crdCluster(t)
	for _, tc := range crdcases.All() {
		t.Run(tc.Name, func(t *testing.T) {
			o, err := tc.Created()
			require.NoError(t, err)
			o.SetNamespace(namespace)
			err = c.Create(t.Context(), o)
			if err == nil {
				t.Cleanup(func() { deleteNow(t, c, o) })
			}
			if tc.Update != "" {
				require.NoError(t, err, "before the update")
				next, patchErr := tc.Updated(o)
				require.NoError(t, patchErr)
				err = c.Update(t.Context(), next)
			}
			if tc.Reject == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.Reject)
		})
	}
}

// Without strict validation the field is dropped: what was written is what must be read back.
func TestCRDPrunesUnknownFields(t *testing.T) {
	c, namespace := crdCluster(t)
	o, err := crdcases.Case{Kind: crdcases.Node, Create: `spec: {sidecar: {tsl: {issuerName: ca}, port: 7778}}`}.Created()
	require.NoError(t, err)
	o.SetNamespace(namespace)
	require.NoError(t, client.WithFieldValidation(c, metav1.FieldValidationIgnore).Create(t.Context(), o))
	t.Cleanup(func() { deleteNow(t, c, o) })
	sidecar, _, err := unstructured.NestedMap(o.Object, "spec", "sidecar")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"port": int64(7778)}, sidecar)
}

func TestCRDKeepsFullStatus(t *testing.T) {
	c, namespace := crdCluster(t)
	want := crdcases.FullNode()
	node := want.DeepCopy()
	node.Namespace = namespace
	node.Spec.Paused = true // no driver should touch it
	require.NoError(t, c.Create(t.Context(), node))
	t.Cleanup(func() { deleteNow(t, c, node) })
	require.Empty(t, node.Status.Phase, "the status is a subresource")

	before := node.DeepCopy()
	node.Status = want.Status
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	require.NoError(t, c.Status().Patch(t.Context(), node, patch))

	got := &v1alpha1.SeiNode{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(node), got))
	require.Equal(t, asJSON(t, want.Status), asJSON(t, got.Status))
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return string(data)
}

func deleteNow(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := client.IgnoreNotFound(c.Delete(context.Background(), o)); err != nil {
		t.Errorf("deleting %s: %v", o.GetName(), err)
	}
}
