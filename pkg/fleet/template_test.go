package fleet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/pkg/fleet"
)

// A child whose siblings take all slots of its SeiNodeDeployment for good does not wait for ever.
func TestNoSlotForTheTemplate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before, after func(*world)
		why           string
	}{
		"a sibling that failed": {before: func(w *world) { w.fails["syncer-0"] = "the proxy crashes" },
			why: "its maxUnavailable is 1, and it is taken by syncer-0 (failed in this rollout, and down or held); next: seictl node explain syncer-0 -n fleet"},
		"a sibling that is down, and was left alone": {before: func(w *world) { w.down("syncer-0", true) },
			why: "its maxUnavailable is 1, and it is taken by syncer-0 (down or held, and not of this rollout); next: seictl node explain syncer-0 -n fleet"},
		"a sibling that went down before its turn": {after: func(w *world) { w.down("syncer-2", true) },
			why: "its maxUnavailable is 1, and it is taken by syncer-2 (pending in this rollout, and down or held)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.snd("syncer", 3, 1)
			if tc.before != nil {
				tc.before(w)
			}
			s := w.strategy()
			s.Canary, s.MaxFailures = 0, 1
			s.MaxUnavailable = intstr.FromInt32(1)
			_, r := w.build(enable, s)
			if tc.after != nil {
				tc.after(w)
			}
			waiting := false
			for range 200 {
				d := w.pass(r, 10*time.Second)
				for i := range r.Nodes {
					if n := &r.Nodes[i]; n.Outcome == fleet.Started && strings.Contains(n.Detail, tc.why) {
						waiting = true
						require.False(t, d.WakeAt.IsZero())
					}
				}
				if d.Ended {
					break
				}
			}
			require.True(t, waiting, "it is told while it waits")
			require.Equal(t, fleet.Failed, r.State, "%+v", r.Nodes)
			failed := slices.IndexFunc(r.Nodes, func(n fleet.NodeRecord) bool { return strings.Contains(n.Detail, tc.why) })
			require.Equal(t, fleet.NodeFailed, r.Nodes[failed].Outcome)
			require.Contains(t, r.Nodes[failed].Detail, "not within 5m0s: snd fleet/syncer gives it no template: ")
		})
	}
}

// A slot that is free again in time is no failure.
func TestSlotForTheTemplateInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.snd("syncer", 2, 1)
	w.down("syncer-0", true)
	_, r := w.build(enable, w.strategy())
	require.Len(t, r.Nodes, 1)
	for range 4 {
		w.pass(r, time.Minute)
	}
	require.NotNil(t, r.Nodes[0].WaitsSince)
	w.down("syncer-0", false)
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State, r.Reason)
	require.Nil(t, r.Nodes[0].WaitsSince)
}

func TestPlanWarnsOfSlotsThatAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.snd("syncer", 4, 2)
	w.down("syncer-0", true)
	p, _ := w.build(enable, w.strategy())
	require.NotContains(t, fmt.Sprint(p.Warnings), "maxUnavailable")
	w.down("syncer-2", true)
	p, _ = w.build(enable, w.strategy())
	require.Contains(t, p.Warnings, "snd fleet/syncer: 2 children are down or held and take slots of its maxUnavailable, which is 2: "+
		"syncer-0, syncer-2; no other child gets the template before that changes; next: seictl node explain syncer-0 -n fleet")
}
