package node

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/manifest"
)

func parseOne(t *testing.T, text string) *manifest.Object {
	t.Helper()
	objects, err := manifest.Parse([]byte(text), "file")
	require.NoError(t, err)
	require.Len(t, objects, 1)
	return &objects[0]
}

const mergeFile = `apiVersion: sei.io/v1alpha1
kind: SeiNode
metadata: {name: ax-0}
spec: {chainId: arctic-1, image: v1, fullNode: {}}
`

func liveNode(fields string) *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{}
	n.Name, n.Namespace, n.ResourceVersion = "ax-0", "fleet", "7"
	n.Spec = v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "v1", FullNode: &v1alpha1.FullNodeSpec{}, Paused: true,
		Sidecar: &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "ca"}}}
	n.Status.CurrentImage = "v1"
	n.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: factory.FieldOwner, Operation: metav1.ManagedFieldsOperationApply,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}}
	return n
}

func TestMergeApplyDropsWhatWasOurs(t *testing.T) {
	o := parseOne(t, mergeFile)
	live := liveNode(`{"f:spec":{"f:chainId":{},"f:fullNode":{},"f:image":{},"f:sidecar":{"f:tls":{"f:issuerName":{}}}}}`)
	merged, err := mergeApply(live, o.Node, o)
	require.NoError(t, err)
	require.Nil(t, merged.Spec.Sidecar)
	require.True(t, merged.Spec.Paused, "somebody else's field stays")
	require.Equal(t, "v1", merged.Status.CurrentImage)
	require.True(t, (&target{live: live, node: merged}).changed())
}

func TestMergeApplyKeepsWhatIsOthers(t *testing.T) {
	o := parseOne(t, mergeFile)
	live := liveNode(`{"f:spec":{"f:chainId":{},"f:fullNode":{},"f:image":{}}}`)
	merged, err := mergeApply(live, o.Node, o)
	require.NoError(t, err)
	require.False(t, (&target{live: live, node: merged}).changed())
}

func TestEditFileReachesTheApply(t *testing.T) {
	o := parseOne(t, mergeFile)
	tg := &target{node: o.Node, object: o}
	require.NoError(t, tg.edit(&Edit{TLS: true, Secret: "tls-a", Image: "v2"}, nil))
	tg.node.Namespace = "fleet"
	body, err := applyBody(tg.node, o)
	require.NoError(t, err)
	require.JSONEq(t, `{"apiVersion":"sei.io/v1alpha1","kind":"SeiNode","metadata":{"name":"ax-0","namespace":"fleet"},
		"spec":{"chainId":"arctic-1","image":"v2","fullNode":{},"sidecar":{"tls":{"secretName":"tls-a"}}}}`, string(body))
}
