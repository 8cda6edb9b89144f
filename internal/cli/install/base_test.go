package install

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
)

func TestPrintsTheBase(t *testing.T) {
	out := &bytes.Buffer{}
	f := factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: &bytes.Buffer{}})
	cmd := NewCmdBase(f, nil)
	cmd.SetArgs([]string{"--node-namespace", "fleet"})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	for _, want := range []string{"name: sei-system", "name: seinodes.sei.io", "name: seictl-config", "name: seid-node-auth-delegator-fleet"} {
		require.Contains(t, out.String(), want)
	}
}

func TestUnknownPaths(t *testing.T) {
	crds, err := config.CRDs()
	require.NoError(t, err)
	for _, o := range crds {
		if o.GetName() != "seinodes.sei.io" {
			continue
		}
		var crd apiextv1.CustomResourceDefinition
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &crd))
		structural, err := structuralOf(&crd.Spec.Versions[0])
		require.NoError(t, err)
		node := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "sei.io/v1alpha1", "kind": "SeiNode", "metadata": map[string]any{"name": "x", "labels": map[string]any{"a": "b"}},
			"spec":   map[string]any{"chainId": "c", "image": "i", "fullNode": map[string]any{"snapshot": map[string]any{}}, "genesis": "g"},
			"status": map[string]any{"phase": "Running"},
		}}
		require.ElementsMatch(t, []string{"spec.fullNode.snapshot", "spec.genesis"}, unknownPaths(node, structural))
		return
	}
	t.Fatal("no CRD of SeiNode")
}
