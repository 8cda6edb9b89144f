package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/ui"
)

func TestPartlyWrittenSpecsAreNamed(t *testing.T) {
	f, _ := offline(t)
	context := "prod"
	f.Flags.Context = &context
	a := &application{session: session{Factory: f}}
	refused := errors.New("SeiNode fleet/c: refused")
	require.Equal(t, refused, a.partly(refused, nil))
	written := []*target{
		{node: &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "a"}}},
		{node: &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "b"}}},
	}
	err := a.partly(refused, written)
	require.ErrorIs(t, err, refused)
	require.ErrorContains(t, err, "the specs of fleet/a, other/b were edited before that")
	require.ErrorContains(t, err, "next for these: seictl node apply a -n fleet --context prod && seictl node apply b -n other --context prod")
}

func TestANewNodeHadNoPodToBeAway(t *testing.T) {
	seconds := 3.2
	for kind, want := range map[v1alpha1.PlanKind]bool{v1alpha1.NodeInit: false, v1alpha1.NodeUpdate: true} {
		_, s := offline(t)
		d := &Document{Node: preview.Node{Namespace: "fleet", Name: "a"}, Image: "v1", State: string(drive.Done),
			LastPlan: &LastPlanDocument{Kind: string(kind), PodCycleSeconds: &seconds}}
		d.result(ui.NewPrinter(s.out, false, 80))
		require.Equal(t, want, strings.Contains(s.out.String(), "pod away"), s.out.String())
		require.Equal(t, want, strings.Contains(d.LastPlan.text(), "pod away"))
	}
}
