package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/fleet"
)

// A driver sees nodes through in every state: what somebody decides meanwhile counts as well.
func TestAdoptTakesTheStateThatEndsMore(t *testing.T) {
	for _, tc := range []struct{ local, remote, want fleet.State }{
		{fleet.Running, fleet.Paused, fleet.Paused},
		{fleet.Running, fleet.Aborted, fleet.Aborted},
		{fleet.Failed, fleet.Aborted, fleet.Aborted},
		{fleet.Paused, fleet.Aborted, fleet.Aborted},
		{fleet.Failed, fleet.Paused, fleet.Failed},
		{fleet.Aborted, fleet.Paused, fleet.Aborted},
		{fleet.Paused, fleet.Running, fleet.Paused},
	} {
		e := &entry{record: &fleet.Record{State: tc.local}}
		e.adopt(&entry{record: &fleet.Record{State: tc.remote}})
		require.Equal(t, tc.want, e.record.State, "%s, and %s elsewhere", tc.local, tc.remote)
	}
}

func TestTheSameCommandGoesOnAsItWasStarted(t *testing.T) {
	for name, tc := range map[string]struct {
		edit  func(*fleet.Record)
		asked func(*fleet.Strategy)
		code  int
		err   string
	}{
		"another width": {asked: func(s *fleet.Strategy) { s.MaxUnavailable.IntVal = 1 }, code: exit.Failure,
			err: "--max-unavailable was 2, found 1; nothing was changed; next: seictl fleet resume --chain pacific-1 to go on"},
		"validators": {asked: func(s *fleet.Strategy) { s.IncludeValidators = true }, code: exit.Failure, err: "--include-validators was false, found true"},
		"paused": {edit: func(r *fleet.Record) { r.State, r.Reason = fleet.Paused, "asked for by bob" }, code: exit.Paused,
			err: "is paused: asked for by bob; nothing was changed; next: seictl fleet resume --chain pacific-1"},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := rolling(t, 2, interceptor.Funcs{})
			record := r.entry.record
			if tc.edit != nil {
				tc.edit(record)
			}
			p := &proposal{asked: record.Strategy, observed: &observed{}}
			if tc.asked != nil {
				tc.asked(&p.asked)
			}
			err := s.goOn(t.Context(), r.entry, p, answers{yes: true})
			require.ErrorContains(t, err, tc.err)
			require.Equal(t, tc.code, exit.Code(err))
		})
	}
}

func TestCanariesThatWereNotToBeHadAreNoDifference(t *testing.T) {
	r, _ := rolling(t, 2, interceptor.Funcs{})
	record := r.entry.record
	asked := record.Strategy
	record.Strategy.Canary, asked.Canary = 2, 5
	require.Empty(t, differences(record, asked, nil), "all nodes are canaries")
	asked.Canary = 1
	require.Equal(t, []string{"--canary was 2, found 1"}, differences(record, asked, nil))
	require.Equal(t, []string{"--canary was 2, found 1 by default"}, differences(record, asked, func(string) bool { return false }))
}

// A rollout for another issuer is another rollout, also when nothing is to be done for the one that is asked for.
func TestSameAsksForTheSameTarget(t *testing.T) {
	r, _ := rolling(t, 2, interceptor.Funcs{})
	open := r.entry.record
	asked := &proposal{record: &fleet.Record{Action: open.Action, Selection: open.Selection}, plan: &fleet.Plan{Target: "ClusterIssuer/pacific-1-ca"}}
	require.True(t, same(open, asked))
	asked.plan.Target = "ClusterIssuer/other-ca"
	require.False(t, same(open, asked))
}

// What became of a rollout while its lock was awaited was not agreed to.
func TestGoOnAsItWasAgreedTo(t *testing.T) {
	r, s := rolling(t, 2, interceptor.Funcs{})
	_, err := s.store.change(t.Context(), r.entry, func(r *fleet.Record) error { r.State = fleet.Failed; return nil })
	require.NoError(t, err)
	name := r.entry.record.Name
	goes, err := r.reopen(t.Context(), name, func(s fleet.State) bool { return s == fleet.Running })
	require.NoError(t, err)
	require.False(t, goes)
	require.Equal(t, fleet.Failed, r.entry.record.State)
	require.Equal(t, exit.Failed, exit.Code(s.stopped(r.entry.record)))
	goes, err = r.reopen(t.Context(), name, fleet.State.Open)
	require.NoError(t, err)
	require.True(t, goes)
	require.Equal(t, fleet.Running, r.entry.record.State)
}

// stored is a factory whose cluster is that of a runner.
func (r *runner) stored() *factory.Factory {
	r.Connect = func(*factory.Factory) (*factory.Cluster, error) { return r.cluster, nil }
	return r.Factory
}

func TestUndoDryRunOfAnOpenUndoChangesNothing(t *testing.T) {
	writes := 0
	r, s := rolling(t, 2, interceptor.Funcs{
		Update: func(ctx context.Context, c kube.WithWatch, o kube.Object, opts ...kube.UpdateOption) error {
			writes++
			return c.Update(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c kube.WithWatch, o kube.Object, p kube.Patch, opts ...kube.PatchOption) error {
			writes++
			return c.Patch(ctx, o, p, opts...)
		},
	})
	_, err := s.store.change(t.Context(), r.entry, func(r *fleet.Record) error {
		r.Action, r.State, r.Strategy.MaxUnavailable.IntVal = actionUndo, fleet.Paused, 1
		return nil
	})
	require.NoError(t, err)
	writes = 0
	o := control(r.stored())
	o.Chain, o.DryRun = "pacific-1", true
	o.Strategy = StrategyFlags{Canary: r.entry.record.Strategy.Canary, OnFailure: onFailurePause, GateTimeout: time.Minute}
	require.NoError(t, undoRun(t.Context(), o))
	require.Zero(t, writes)
	// Without --dry-run the pause holds.
	o.DryRun, o.Yes, o.Strategy.MaxUnavailable = false, true, "1"
	require.Equal(t, exit.Paused, exit.Code(undoRun(t.Context(), o)))
	require.Zero(t, writes)
}

func TestWhatChangedWhileTheLockWasAwaited(t *testing.T) {
	r, s := rolling(t, 2, interceptor.Funcs{})
	agreed := &proposal{record: r.entry.record.Clone()}
	agreed.record.Digest = "a"
	found := &proposal{record: r.entry.record.Clone()}
	found.record.Digest = "b"
	again := func(open *entry) func(context.Context) (*proposal, *entry, error) {
		return func(context.Context) (*proposal, *entry, error) { return found, open, nil }
	}
	_, err := s.still(t.Context(), agreed, answers{}, again(nil))
	require.Equal(t, exit.Stale, exit.Code(err))
	require.ErrorContains(t, err, "is not as it was shown any more")
	p, err := s.still(t.Context(), agreed, answers{yes: true}, again(nil))
	require.NoError(t, err)
	require.Same(t, found, p, "who agreed beforehand agreed to what is found")
	_, err = s.still(t.Context(), agreed, answers{yes: true}, again(r.entry))
	require.Equal(t, exit.Stale, exit.Code(err))
	require.ErrorContains(t, err, "was started meanwhile")
}

// Whoever may not list everywhere has to see each namespace of a rollout: what one may not see is not gone.
func TestGatherForSeesEveryNamespaceOfTheRollout(t *testing.T) {
	mine := true
	r, s := rolling(t, 1, interceptor.Funcs{
		List: func(ctx context.Context, c kube.WithWatch, list kube.ObjectList, opts ...kube.ListOption) error {
			o := (&kube.ListOptions{}).ApplyOptions(opts)
			if o.Namespace == "" || (o.Namespace == "other" && !mine) {
				return apierrors.NewForbidden(schema.GroupResource{Group: "sei.io", Resource: "seinodes"}, "", nil)
			}
			return c.List(ctx, list, opts...)
		},
	})
	n := seiNode("bx-0")
	n.Namespace = "other"
	require.NoError(t, r.cluster.Client.Create(t.Context(), n))
	r.entry.record.Nodes = append(r.entry.record.Nodes, fleet.NodeRecord{Namespace: "other", Name: "bx-0"})
	namespace := "fleet"
	s.Flags.Namespace = &namespace
	seen, err := gatherFor(t.Context(), s.Factory, s.cluster, r.entry.record)
	require.NoError(t, err)
	require.Len(t, seen.nodes, 2)
	mine = false
	_, err = gatherFor(t.Context(), s.Factory, s.cluster, r.entry.record)
	require.ErrorContains(t, err, "has nodes in namespace other")
}

// At the end of a rollout the fleet is read once more: again where the API server is busy, and not where it says no for good.
func TestLookAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		asks int
	}{
		"busy":        {apierrors.NewTooManyRequests("later", 1), 2},
		"not allowed": {apierrors.NewForbidden(schema.GroupResource{Group: "sei.io", Resource: "seinodes"}, "", errors.New("no")), 1},
	} {
		t.Run(name, func(t *testing.T) {
			asks, failing := 0, true
			r, s := rolling(t, 1, interceptor.Funcs{
				List: func(ctx context.Context, c kube.WithWatch, list kube.ObjectList, opts ...kube.ListOption) error {
					if _, nodes := list.(*v1alpha1.SeiNodeList); !nodes {
						return c.List(ctx, list, opts...)
					}
					if (&kube.ListOptions{}).ApplyOptions(opts).Namespace == "" {
						asks++
					}
					if failing {
						failing = tc.asks == 1
						return tc.err
					}
					return c.List(ctx, list, opts...)
				},
			})
			namespace := "fleet"
			s.Flags.Namespace = &namespace
			require.NoError(t, r.lookAgain(t.Context()))
			require.Equal(t, tc.asks, asks)
		})
	}
}

// A rollout that ends early sees the nodes in a pod cycle through.
func TestSeeThrough(t *testing.T) {
	r, _ := rolling(t, 1, interceptor.Funcs{})
	key := r.entry.record.Nodes[0].Key()
	r.entry.record.Nodes[0].Outcome = fleet.Started
	set := func(p *v1alpha1.Plan) {
		r.mu.Lock()
		defer r.mu.Unlock()
		n := r.nodes[key].DeepCopy()
		n.Status.Plan = p
		r.nodes[key] = n
	}
	now := metav1.NewMicroTime(at)
	set(&v1alpha1.Plan{ID: "p", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, StartedAt: now, Tasks: []v1alpha1.Task{
		{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskComplete}, {Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning},
	}})
	require.Len(t, r.cycling(), 1)
	ended := make(chan struct{})
	go func() {
		r.seeThrough(t.Context(), nil, errDeleted)
		close(ended)
	}()
	for range 3 { // it looks again whenever something happened, and goes on waiting
		r.poke()
		require.Eventually(t, func() bool { return len(r.wake) == 0 }, time.Minute, time.Millisecond)
	}
	set(nil)
	r.poke()
	<-ended

	set(&v1alpha1.Plan{ID: "q", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, StartedAt: now, Tasks: []v1alpha1.Task{
		{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning},
	}})
	over := make(chan struct{})
	close(over)
	r.seeThrough(t.Context(), over, errDeleted) // nobody runs passes any more
	r.refused = map[types.NamespacedName]bool{key: true}
	r.seeThrough(t.Context(), nil, errDeleted) // its passes are refused
}
