package operator

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sei.io/seictl/api/v1alpha1"
)

func TestEventWriterFlushes(t *testing.T) {
	scheme, err := NewScheme()
	require.NoError(t, err)
	c := fake.NewClientBuilder().WithScheme(scheme).Build()
	w := &eventWriter{client: c}
	node := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Name: "ax-0", Namespace: "fleet", UID: "u"}}
	w.Event(node, "Normal", v1alpha1.ReasonUpdateComplete, strings.Repeat("é", maxEventNote))
	w.flush()

	var list eventsv1.EventList
	require.NoError(t, c.List(t.Context(), &list))
	require.Len(t, list.Items, 1)
	e := list.Items[0]
	require.Equal(t, "ax-0", e.Regarding.Name)
	require.Equal(t, v1alpha1.ReasonUpdateComplete, e.Reason)
	require.LessOrEqual(t, len(e.Note), maxEventNote)
	require.NotContains(t, e.Note, "\uFFFD")
}
