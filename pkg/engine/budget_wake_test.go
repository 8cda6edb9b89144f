package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
)

// A slot that is given back wakes those whose turn may have come, not a chain of hundreds.
func TestSlotWakesTheNextInLine(t *testing.T) {
	t.Parallel()
	var woken []string
	b := &ChainBudget{Wake: func(key types.NamespacedName) { woken = append(woken, key.Name) }}
	b.init()
	b.limits["arctic-1"], b.limits["other"] = 2, 5
	begun := time.Unix(1e9, 0)
	for i := range 10 {
		name := fmt.Sprintf("n-%d", i)
		b.waiting[types.UID(name)] = waiter{
			key: types.NamespacedName{Namespace: "fleet", Name: name}, chain: "arctic-1", since: begun.Add(time.Duration(-i) * time.Second),
		}
	}
	b.waiting["v"] = waiter{key: types.NamespacedName{Name: "v-0"}, chain: "arctic-1", validator: true, since: begun.Add(time.Hour)}
	b.waiting["o"] = waiter{key: types.NamespacedName{Name: "o-0"}, chain: "other", since: begun}
	b.wakeNext("arctic-1")
	require.Equal(t, []string{"n-9", "n-8", "v-0"}, woken)

	woken = nil
	b.Forget("n-9")
	slices.Sort(woken)
	require.Equal(t, []string{"n-7", "n-8", "o-0", "v-0"}, woken, "of a node that is gone the chain is not known")
}
