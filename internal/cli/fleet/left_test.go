package fleet

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/pkg/fleet"
)

// A node that was deleted in mid-rollout is nobody's to change: it is no reason to end with another code than 0.
func TestGoneNodesAreNotLeft(t *testing.T) {
	r := &fleet.Record{Nodes: []fleet.NodeRecord{{Name: "ax-0", Outcome: fleet.Done}, {Name: "ax-1", Outcome: fleet.Skipped, Gone: true}}}
	code, _ := leftCode(r)
	require.Equal(t, exit.OK, code)
	r.Nodes = append(r.Nodes, fleet.NodeRecord{Name: "ax-2", Outcome: fleet.Skipped})
	code, why := leftCode(r)
	require.Equal(t, exit.Paused, code)
	require.Equal(t, "1 node paused", why)
}
