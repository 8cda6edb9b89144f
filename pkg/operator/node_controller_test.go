package operator

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
)

func TestForgetsNodesThatAreGone(t *testing.T) {
	t.Parallel()
	var forgotten []types.UID
	r := &NodeReconciler{Forget: func(uid types.UID) { forgotten = append(forgotten, uid) }}
	key := types.NamespacedName{Namespace: "fleet", Name: "ax-0"}
	r.see(key, "first")
	r.see(key, "first")
	require.Empty(t, forgotten)
	r.see(key, "second")
	require.Equal(t, []types.UID{"first"}, forgotten, "deleted and created again")
	r.see(key, "")
	r.see(key, "")
	require.Equal(t, []types.UID{"first", "second"}, forgotten)
}

// A pass under way finishes when the process shall stop, and ends at once when the Lease is lost.
func TestPassOutlivesAStopButNotTheLease(t *testing.T) {
	t.Parallel()
	for name, draining := range map[string]bool{"asked to stop": true, "the Lease is lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &NodeReconciler{Draining: func() bool { return draining }}
			ctx, stop := context.WithCancel(t.Context())
			pass, cancel := r.passContext(ctx)
			defer cancel()
			stop()
			if !draining {
				<-pass.Done()
				return
			}
			require.NoError(t, pass.Err())
			select {
			case <-pass.Done():
			case <-time.After(2 * drainTime):
				t.Fatal("a pass must not hold the end up for long")
			}
		})
	}
	ctx, cancel := (&NodeReconciler{}).passContext(t.Context())
	defer cancel()
	require.Equal(t, t.Context(), ctx, "a driver that does not drain has no context of its own")
}
