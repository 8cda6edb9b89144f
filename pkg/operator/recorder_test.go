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
	w := newEventWriter(c)
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

func TestEventsOfOtherKinds(t *testing.T) {
	scheme, err := NewScheme()
	require.NoError(t, err)
	c := fake.NewClientBuilder().WithScheme(scheme).Build()
	w := newEventWriter(c)
	snd := &v1alpha1.SeiNodeDeployment{ObjectMeta: metav1.ObjectMeta{Name: "ax", Namespace: "fleet", UID: "d"}}
	child := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Name: "ax-0", Namespace: "fleet", UID: "u"}}
	var none *v1alpha1.SeiNode
	w.Eventf(snd, child, "Warning", "ChildPutBack", "Update", "%d%%", 5)
	w.Eventf(snd, none, "Normal", "ScaledUp", "Create", "x")
	w.flush()

	var list eventsv1.EventList
	require.NoError(t, c.List(t.Context(), &list))
	require.Len(t, list.Items, 2)
	for _, e := range list.Items {
		require.Equal(t, "SeiNodeDeployment", e.Regarding.Kind)
		if e.Reason == "ScaledUp" {
			require.Nil(t, e.Related)
			continue
		}
		require.Equal(t, "ax-0", e.Related.Name)
		require.Equal(t, "5%", e.Note)
	}
}
