package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/settings"
)

// watching is a driver that does not hold the Lease, over a fake cluster.
func watching(t *testing.T, node *v1alpha1.SeiNode) (*Driver, client.Client, *bytes.Buffer) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: node.Namespace, Name: node.Name + "-0"}}
	c := fake.NewClientBuilder().WithScheme(factory.Scheme()).WithStatusSubresource(node).WithObjects(node, pod).Build()
	out := &bytes.Buffer{}
	return &Driver{
		Cluster: &factory.Cluster{Client: c, Host: "fake"}, Settings: settings.Default(), Now: time.Now,
		Progress: NewProgress(ui.NewPrinter(out, false, 80), nil, time.Now),
		peekLeader: func(context.Context) (*lock.Record, error) {
			return &lock.Record{Holder: lock.Holder{Kind: lock.KindOperator}, RenewedAt: time.Now()}, nil
		},
	}, c, out
}

func TestRunWatchesUntilSettled(t *testing.T) {
	n := running()
	n.Spec.Image = "v2"
	n.Status.Plan = &v1alpha1.Plan{ID: "p", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive,
		Tasks: []v1alpha1.Task{{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskRunning}}}
	d, c, out := watching(t, n)
	// The fake brings what follows the start of a watch, whatever version the watch names: the change must come after it.
	started := make(chan struct{})
	d.Cluster.Client = interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) (watch.Interface, error) {
			w, err := c.Watch(ctx, list, o...)
			close(started)
			return w, err
		}})
	goal := Goal{Key: client.ObjectKeyFromObject(n), Generation: 2}
	type outcome struct {
		results []Result
		err     error
	}
	done := make(chan outcome)
	go func() {
		results, err := d.Run(t.Context(), []Goal{goal})
		done <- outcome{results, err}
	}()
	<-started
	var fresh v1alpha1.SeiNode
	require.NoError(t, c.Get(t.Context(), goal.Key, &fresh))
	ended := metav1.NewMicroTime(time.Now())
	fresh.Status.LastPlan = &v1alpha1.PlanSummary{ID: "p", Kind: v1alpha1.NodeUpdate, Outcome: v1alpha1.PlanComplete,
		StartedAt: ended, FinishedAt: ended, Tasks: []v1alpha1.TaskSummary{{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskComplete}}}
	fresh.Status.Plan, fresh.Status.CurrentImage = nil, "v2"
	require.NoError(t, c.Status().Update(t.Context(), &fresh))
	got := <-done
	require.NoError(t, got.err)
	require.Equal(t, Done, got.results[0].State)
	require.NotContains(t, out.String(), "\x1b")
}

// The status of a node whose operator is away says that all is well, whatever becomes of its pod.
func TestRunDoesNotTrustAStatusWithoutAPod(t *testing.T) {
	peek, absent := leaderPeek, leaderAbsent
	leaderPeek, leaderAbsent = time.Millisecond, 50*time.Millisecond
	t.Cleanup(func() { leaderPeek, leaderAbsent = peek, absent })
	n := running()
	d, c, _ := watching(t, n)
	goal := []Goal{{Key: client.ObjectKeyFromObject(n)}}
	results, err := d.Run(t.Context(), goal)
	require.NoError(t, err)
	require.Equal(t, Done, results[0].State)

	require.NoError(t, c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name + "-0"}}))
	d.peekLeader = func(context.Context) (*lock.Record, error) { return nil, nil }
	results, err = d.Run(t.Context(), goal)
	require.ErrorContains(t, err, "no operator has led")
	require.Equal(t, Working, results[0].State)
	require.Contains(t, results[0].Detail, "pod fleet/ax-0-0 is gone")
}

// A namespace may have a thousand nodes: only those that were asked for are looked at.
func TestRunAsksForThePodsOfItsNodesAlone(t *testing.T) {
	n := running()
	d, c, _ := watching(t, n)
	for i := range 3 {
		other := running()
		other.Name, other.UID = fmt.Sprintf("a-%d", i), ""
		require.NoError(t, c.Create(t.Context(), other))
	}
	var asked []string
	d.Cluster.Client = interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			asked = append(asked, key.Name)
			return c.Get(ctx, key, o, opts...)
		}})
	results, err := d.Run(t.Context(), []Goal{{Key: client.ObjectKeyFromObject(n)}})
	require.NoError(t, err)
	require.Equal(t, Done, results[0].State)
	require.Equal(t, []string{n.Name + "-0"}, asked)
}

func TestRunEndsWhenNoOperatorLeads(t *testing.T) {
	peek, absent := leaderPeek, leaderAbsent
	leaderPeek, leaderAbsent = time.Millisecond, 5*time.Millisecond
	t.Cleanup(func() { leaderPeek, leaderAbsent = peek, absent })
	dead := &lock.Record{Holder: lock.Holder{Kind: lock.KindOperator, Pod: "seictl-operator-0"}, RenewedAt: time.Now()}
	for name, record := range map[string]*lock.Record{"never": nil, "dead": dead} {
		t.Run(name, func(t *testing.T) {
			n := running()
			n.Spec.Image = "v2"
			d, _, _ := watching(t, n)
			d.peekLeader = func(context.Context) (*lock.Record, error) { return record, nil }
			results, err := d.Run(t.Context(), []Goal{{Key: client.ObjectKeyFromObject(n), Generation: 2}})
			require.ErrorContains(t, err, "no operator has led")
			require.ErrorContains(t, err, "--drive")
			require.Equal(t, exit.Failure, exit.Code(err))
			require.Equal(t, Working, results[0].State)
		})
	}
}

func TestFollowerOutlastsAnOutage(t *testing.T) {
	usual := outage
	outage.Duration = time.Millisecond
	t.Cleanup(func() { outage = usual })
	for _, c := range []struct {
		name     string
		failures int
		err      error
		want     string
	}{
		{"short", 5, &net.OpError{Op: "dial", Err: errors.New("connection refused")}, ""},
		{"lasting", 1000, &net.OpError{Op: "dial", Err: errors.New("connection refused")}, "does not answer"},
		{"refused", 1000, apierrors.NewForbidden(schema.GroupResource{Resource: "seinodes"}, "", errors.New("no")), "not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := running()
			d, inner, _ := watching(t, n)
			lists, troubles := 0, 0
			d.Cluster.Client = interceptor.NewClient(inner.(client.WithWatch), interceptor.Funcs{
				List: func(ctx context.Context, inner client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
					if lists++; lists <= c.failures {
						return c.err
					}
					return inner.List(ctx, list, o...)
				}})
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			f := &Follower{Cluster: d.Cluster, Namespace: n.Namespace, Trouble: func(error) { troubles++ },
				Seen: func(types.NamespacedName, *v1alpha1.SeiNode) { stop() }}
			err := f.Run(ctx)
			if c.want == "" {
				require.NoError(t, err)
				require.Equal(t, c.failures+1, lists)
				require.Equal(t, 1, troubles, "said once")
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestFollowerTellsOfANodeThatWasGoneAlready(t *testing.T) {
	n := running()
	d, _, _ := watching(t, n)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	gone := types.NamespacedName{Namespace: n.Namespace, Name: "gone"}
	var seen []types.NamespacedName
	f := &Follower{Cluster: d.Cluster, Namespace: n.Namespace, Known: []types.NamespacedName{gone, client.ObjectKeyFromObject(n)},
		Seen: func(key types.NamespacedName, node *v1alpha1.SeiNode) {
			if node == nil {
				seen = append(seen, key)
				stop()
			}
		}}
	require.NoError(t, f.Run(ctx))
	require.Equal(t, []types.NamespacedName{gone}, seen)
}

func TestRunEndsWithTheCauseOfItsContext(t *testing.T) {
	n := running()
	n.Spec.Image = "v2"
	d, _, _ := watching(t, n)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(exit.ErrInterrupted)
	results, err := d.Run(ctx, []Goal{{Key: client.ObjectKeyFromObject(n), Generation: 2}})
	require.ErrorIs(t, err, exit.ErrInterrupted)
	require.Equal(t, Working, results[0].State)
}

func TestProgressTellsTransitions(t *testing.T) {
	out := &bytes.Buffer{}
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := NewProgress(ui.NewPrinter(out, false, 80), nil, func() time.Time { return clock })
	n := running()
	key := client.ObjectKeyFromObject(n)
	start, end := metav1.NewMicroTime(clock), metav1.NewMicroTime(clock.Add(1500*time.Millisecond))
	n.Status.Plan = &v1alpha1.Plan{ID: "p", Kind: v1alpha1.NodeUpdate, Causes: []v1alpha1.PlanCause{v1alpha1.ImageDrift},
		Phase: v1alpha1.PlanActive, Tasks: []v1alpha1.Task{
			{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskComplete, StartedAt: &start, FinishedAt: &end},
			{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning, Message: "pod is being replaced"},
			{Type: v1alpha1.TaskMarkReady, Status: v1alpha1.TaskPending}}}
	p.Node(key, n, "")
	p.Node(key, n, "") // nothing new
	clock = clock.Add(3 * time.Second)
	n = n.DeepCopy()
	n.Status.Plan = nil
	n.Status.LastPlan = &v1alpha1.PlanSummary{ID: "p", Kind: v1alpha1.NodeUpdate, Outcome: v1alpha1.PlanComplete, Tasks: []v1alpha1.TaskSummary{
		{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskComplete},
		{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskComplete, Duration: &metav1.Duration{Duration: 2 * time.Second}},
		{Type: v1alpha1.TaskMarkReady, Status: v1alpha1.TaskComplete, Duration: &metav1.Duration{Duration: time.Second}}}}
	p.Node(key, n, "")
	p.Close()
	require.Equal(t, `    0.0s  fleet/ax-0  NodeUpdate (ImageDrift): 3 tasks, one pod cycle
    0.0s  fleet/ax-0  1/3 apply-statefulset  Complete (1.5s)
    0.0s  fleet/ax-0  2/3 replace-pod  Running: pod is being replaced
    3.0s  fleet/ax-0  2/3 replace-pod  Complete (2s)
    3.0s  fleet/ax-0  3/3 mark-ready  Complete (1s)
    3.0s  fleet/ax-0  NodeUpdate Complete
`, out.String())
}
