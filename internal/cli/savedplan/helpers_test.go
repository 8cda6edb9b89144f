package savedplan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/pkg/settings"
)

var saved = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// node runs v1 without TLS; its spec was written by kubectl an hour ago.
func node() *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{}
	n.Namespace, n.Name, n.UID, n.Generation = "fleet", "ax-0", "uid-0", 1
	n.Spec = v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "v1", FullNode: &v1alpha1.FullNodeSpec{},
		Overrides: map[string]string{"p2p.max_peers": "10"}}
	n.Status = v1alpha1.SeiNodeStatus{ObservedGeneration: 1, Phase: v1alpha1.PhaseRunning, CurrentImage: "v1"}
	n.ManagedFields = []metav1.ManagedFieldsEntry{
		written("kubectl", -time.Hour, "", `{"f:spec":{"f:chainId":{},"f:image":{},"f:fullNode":{},"f:overrides":{"f:p2p.max_peers":{}}}}`)}
	return n
}

func written(manager string, when time.Duration, subresource, fields string) metav1.ManagedFieldsEntry {
	at := metav1.NewTime(saved.Add(when))
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &at,
		Subresource: subresource, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

// file is a saved plan of node.
func file(t testing.TB) *File {
	t.Helper()
	read, err := Read(node())
	require.NoError(t, err)
	platform, err := ReadSettings(settings.Default())
	require.NoError(t, err)
	return &File{CreatedAt: saved, Settings: platform, Nodes: []Node{{
		Namespace: "fleet", Name: "ax-0", UID: "uid-0", Read: read,
		Edit:    Edit{Type: MergePatch, Body: []byte(`{"spec":{"image":"v2"}}`)},
		Preview: preview.Item{Node: preview.Node{Namespace: "fleet", Name: "ax-0"}, Drift: []preview.Drift{}, Warnings: []string{"<&>"}},
	}}}
}

func encoded(t testing.TB) string {
	t.Helper()
	data, err := file(t).Encode()
	require.NoError(t, err)
	return string(data)
}
