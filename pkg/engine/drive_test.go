package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/tasks"
)

func TestForeignControllerIsRefused(t *testing.T) {
	write := func(manager string, at time.Time) metav1.ManagedFieldsEntry {
		mt := metav1.NewTime(at)
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: "status", Time: &mt}
	}
	refused := []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonForeignController}}
	for name, tc := range map[string]struct {
		fields     []metav1.ManagedFieldsEntry
		conditions []metav1.Condition
		refused    bool
	}{
		"nobody else":                      {nil, nil, false},
		"somebody harmless":                {[]metav1.ManagedFieldsEntry{write("kubectl-edit", t0)}, nil, false},
		"it wrote a moment ago":            {[]metav1.ManagedFieldsEntry{write("seinode-controller", t0.Add(-time.Minute))}, nil, true},
		"it wrote long ago":                {[]metav1.ManagedFieldsEntry{write("seinode-controller", t0.Add(-time.Hour))}, nil, false},
		"we drive the node since":          {[]metav1.ManagedFieldsEntry{write("seinode-controller", t0.Add(-2*time.Minute)), write(FieldManager, t0.Add(-time.Minute))}, nil, false},
		"it wrote after us":                {[]metav1.ManagedFieldsEntry{write(FieldManager, t0.Add(-2*time.Minute)), write("seinode-controller", t0.Add(-time.Minute))}, nil, true},
		"all that we wrote is the refusal": {[]metav1.ManagedFieldsEntry{write("seinode-controller", t0.Add(-2*time.Minute)), write(FieldManager, t0.Add(-time.Minute))}, refused, true},
		"the refusal, and it is gone":      {[]metav1.ManagedFieldsEntry{write("seinode-controller", t0.Add(-time.Hour)), write(FieldManager, t0.Add(-time.Minute))}, refused, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := running(nil)
			n.ManagedFields, n.Status.Conditions = tc.fields, tc.conditions
			name, until := foreignController(n, t0)
			require.Equal(t, tc.refused, name == "seinode-controller")
			require.Equal(t, tc.refused, until.After(t0))
		})
	}

	n := running(nil)
	n.Spec.Image = "seid:v2"
	w := newWorld(t, n, objects(t, n)...)
	for range 3 {
		// The fake API server keeps no managed fields of its own, so the engine must not remember what it returned.
		w.handOver()
		node := w.node()
		node.ManagedFields = []metav1.ManagedFieldsEntry{write("seinode-controller", t0.Add(-time.Minute))}
		out, err := w.engine.Pass(t.Context(), node)
		require.NoError(t, err)
		require.False(t, out.Settled)
		require.Contains(t, out.Detail, "seinode-controller")
		require.Equal(t, 9*time.Minute, out.RequeueAfter)
	}
	require.Empty(t, w.ran)
	require.Nil(t, w.node().Status.Plan)
	require.Equal(t, "False ForeignController", condition(w.node(), v1alpha1.ConditionReady))
}

// handOver gives the world to another process.
func (w *world) handOver() {
	other := New(w.engine.opts)
	other.wire = w.engine.wire
	w.engine = other
}

func TestResume(t *testing.T) {
	start := func(t *testing.T, stuck v1alpha1.TaskType) *world {
		t.Helper()
		n := running(nil)
		w := newWorld(t, n, objects(t, n)...)
		w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
		w.script[stuck] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("it takes its time"), nil }
		w.settle()
		w.now = w.now.Add(progressDelay)
		w.settle()
		require.Equal(t, v1alpha1.TaskRunning, w.node().Status.Plan.Task(stuck).Status)
		return w
	}
	t.Run("a deadline that passed while nobody drove is set anew", func(t *testing.T) {
		w := start(t, v1alpha1.TaskObserveImage)
		w.now = w.now.Add(24 * time.Hour)
		w.handOver()
		w.settle()
		w.now = w.now.Add(progressDelay)
		w.settle()
		p := w.node().Status.Plan
		require.Empty(t, w.ended)
		require.Equal(t, v1alpha1.NodeUpdate, p.Kind)
		require.True(t, p.Task(v1alpha1.TaskObserveImage).Deadline.After(w.now))
	})
	t.Run("one that passed while we drove ends the task", func(t *testing.T) {
		w := start(t, v1alpha1.TaskObserveImage)
		w.now = w.now.Add(24 * time.Hour)
		w.settle()
		require.Contains(t, w.ended, "NodeUpdate Failed")
	})
	t.Run("a mark-ready that was started counts as delivered", func(t *testing.T) {
		w := start(t, v1alpha1.TaskMarkReady)
		require.False(t, plan.PointOfNoReturn(w.node().Status.Plan))
		w.handOver()
		w.settle()
		require.True(t, plan.PointOfNoReturn(w.node().Status.Plan))
	})
	t.Run("also when it is our own write that was lost", func(t *testing.T) {
		w := start(t, v1alpha1.TaskMarkReady)
		w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) {
			r := tasks.Wait("waiting for seid")
			r.Output = &v1alpha1.TaskOutput{Accepted: true}
			return r, nil
		}
		w.fail["patch status"] = errors.New("away")
		_, err := w.engine.Pass(t.Context(), w.node())
		require.Error(t, err)
		delete(w.fail, "patch status")
		w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("the sidecar restarts"), nil }
		w.settle()
		require.True(t, plan.PointOfNoReturn(w.node().Status.Plan))
	})
	t.Run("a MarkReady goes on", func(t *testing.T) {
		n := running(nil)
		w := newWorld(t, n, objects(t, n)...)
		w.pod(func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Ready = false })
		w.health = 503
		w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("it takes its time"), nil }
		w.settle()
		w.now = w.now.Add(progressDelay)
		w.settle()
		w.handOver()
		w.settle()
		require.Equal(t, v1alpha1.TaskRunning, w.node().Status.Plan.Tasks[0].Status)
	})
}

type slots struct {
	full     bool
	asked    []v1alpha1.TaskType
	observed int
	left     int
}

func (s *slots) Acquire(_ context.Context, _ *v1alpha1.SeiNode, p *v1alpha1.Plan) (bool, string) {
	s.asked = append(s.asked, p.Tasks[plan.Current(p)].Type)
	return !s.full, "waits for sei/n1: 1 of 1 nodes of arctic-1 in a pod cycle"
}

func (s *slots) Observe(*v1alpha1.SeiNode, bool) { s.observed++ }

func (s *slots) Leave(types.UID) { s.left++ }

func TestQueuedByTheBudget(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	budget := &slots{full: true}
	w.engine.opts.Budget = budget
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("a") })
	out := w.settle()
	require.Equal(t, []v1alpha1.TaskType{
		v1alpha1.TaskApplySidecarCert, v1alpha1.TaskWaitForSidecarTLSSecret, v1alpha1.TaskApplyRBACProxyConfig,
	}, w.ran, "up to the template the certificate can be had")
	require.Equal(t, "True UpdateQueued", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))
	require.Equal(t, idleQueued, out.Idle)
	require.Contains(t, out.Detail, "sei/n1")
	require.Equal(t, v1alpha1.TaskPending, w.node().Status.Plan.Task(v1alpha1.TaskApplyStatefulSet).Status)
	queued := slices.DeleteFunc(slices.Clone(w.events), func(e string) bool { return !strings.Contains(e, "UpdateQueued") })
	require.Len(t, queued, 1, "told once, not of Ready as well")

	// Time in the queue does not count.
	w.now = w.now.Add(time.Hour)
	left := budget.left
	w.settle()
	require.Equal(t, left, budget.left, "it stays in the queue")
	w.fail["get statefulset"] = errors.New("away")
	_, err := w.engine.Pass(t.Context(), w.node())
	require.Error(t, err)
	require.Equal(t, left+1, budget.left, "nobody waits behind a node that does not ask")
	delete(w.fail, "get statefulset")
	budget.full = false
	w.settle()
	require.Nil(t, w.node().Status.Plan)
	require.NotContains(t, w.ended, "NodeUpdate Failed")
	require.NotZero(t, budget.observed)
	for _, task := range budget.asked {
		require.Equal(t, v1alpha1.TaskApplyStatefulSet, task)
	}

	t.Run("a plan without a pod cycle takes no slot", func(t *testing.T) {
		n := running(issuerTLS("a"))
		w := newWorld(t, n, stamp(t, n, objects(t, n))...)
		budget := &slots{full: true}
		w.engine.opts.Budget = budget
		w.script[v1alpha1.TaskWaitForSidecarTLSSecret] = func(tasks.Input) (tasks.Result, error) {
			w.put(pair(t, n, issuerTLS("b"), t0.Add(time.Hour)))
			return tasks.Completed(nil), nil
		}
		w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("b") })
		w.settle()
		require.True(t, w.node().Status.CurrentSidecarTLS.Config().Equal(issuerTLS("b")))
		require.Empty(t, budget.asked)
	})
}

func TestPausedInMidPlan(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.script[v1alpha1.TaskWaitForSidecarTLSSecret] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("issuing"), nil }
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("a") })
	w.settle()
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Paused = true })
	out := w.settle()
	require.Equal(t, plan.IdlePaused, out.Idle)
	ran := len(w.ran)
	w.now = w.now.Add(24 * time.Hour)
	w.settle()
	require.Len(t, w.ran, ran, "it stands still")
	require.True(t, w.node().Status.Plan.Active())

	delete(w.script, v1alpha1.TaskWaitForSidecarTLSSecret)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Paused = false })
	w.settle()
	require.NotNil(t, w.node().Status.CurrentSidecarTLS, "time in pause does not count")
}

func TestVerdicts(t *testing.T) {
	settledWorld := func(t *testing.T) (*world, *v1alpha1.SeiNode) {
		t.Helper()
		n := running(issuerTLS("a"))
		w := newWorld(t, n, stamp(t, n, objects(t, n))...)
		w.settle()
		return w, n
	}
	const typ = v1alpha1.ConditionSidecarTLSSecretReady
	secretKey := client.ObjectKey{Namespace: "sei", Name: "n0-sidecar-tls"}

	t.Run("a Secret that does not change is read once", func(t *testing.T) {
		w, _ := settledWorld(t)
		require.Equal(t, 1, w.requests["live secret"])
		require.Equal(t, 1, w.requests["get secret"], "never through the cache, which holds no Secret's data")
		for range 3 {
			w.pass()
		}
		require.Equal(t, 1, w.requests["live secret"])

		var s corev1.Secret
		require.NoError(t, w.client.Get(t.Context(), secretKey, &s))
		s.Labels = map[string]string{"a": "b"}
		require.NoError(t, w.client.Update(t.Context(), &s))
		w.pass()
		w.pass()
		require.Equal(t, 2, w.requests["live secret"], "once more for another version")
	})
	t.Run("expiry is seen without a change of the Secret", func(t *testing.T) {
		w, _ := settledWorld(t)
		out := w.pass()
		require.Equal(t, time.Hour+time.Second, out.RequeueAfter, "woken when it expires")
		w.now = w.now.Add(out.RequeueAfter)
		w.settle()
		require.Equal(t, "False TLSSecretExpired", condition(w.node(), typ))
		require.Empty(t, w.ran, "and the pod is never rolled for it")
	})
	t.Run("deleted while the node runs", func(t *testing.T) {
		w, _ := settledWorld(t)
		require.NoError(t, w.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "sei", Name: "n0-sidecar-tls"}}))
		w.settle()
		require.Equal(t, "False TLSSecretNotFound", condition(w.node(), typ))
		require.Empty(t, w.ran)
	})
	t.Run("not allowed to read it", func(t *testing.T) {
		n := running(issuerTLS("a"))
		w := newWorld(t, n, stamp(t, n, objects(t, n))...)
		w.fail["live secret"] = forbidden("secrets")
		out := w.settle()
		require.Equal(t, "Unknown TLSSecretUnavailable", condition(w.node(), typ), "never called absence")
		require.Equal(t, sidecarPoll, out.RequeueAfter)
	})
	t.Run("not allowed to watch their metadata", func(t *testing.T) {
		w, _ := settledWorld(t)
		w.fail["get metadata"] = forbidden("secrets")
		w.pass()
		w.pass()
		require.Equal(t, "True TLSSecretReady", condition(w.node(), typ), "it is read at every pass then")
		require.Equal(t, 3, w.requests["live secret"])
	})
	t.Run("the condition judges what runs, the gate what is wanted", func(t *testing.T) {
		w, _ := settledWorld(t)
		w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = secretTLS("x") })
		out := w.settle()
		require.Equal(t, "True TLSSecretReady", condition(w.node(), typ))
		require.Equal(t, "False UpdateBlocked", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))
		require.Contains(t, out.Detail, "Secret sei/x does not exist")
	})
}

func TestRepair(t *testing.T) {
	n := running(issuerTLS("a"))
	w := newWorld(t, n, stamp(t, n, objects(t, n))...)
	w.settle()
	var svc corev1.Service
	require.NoError(t, w.client.Get(t.Context(), key, &svc))
	require.NoError(t, w.client.Delete(t.Context(), &svc))
	require.True(t, w.settle().Settled)
	require.Equal(t, []v1alpha1.TaskType{v1alpha1.TaskApplyService}, w.ran)
	require.Equal(t, []string{"NodeRepair Complete"}, w.ended)

	// Somebody changes it back as fast as we repair it: one repair a minute, not one a millisecond.
	w.script[v1alpha1.TaskApplyService] = func(tasks.Input) (tasks.Result, error) { return tasks.Completed(nil), nil }
	w.now = w.now.Add(time.Hour)
	require.NoError(t, w.client.Get(t.Context(), key, &svc))
	require.NoError(t, w.client.Delete(t.Context(), &svc))
	w.ran = nil
	out := w.settle()
	require.Len(t, w.ran, 1)
	require.Equal(t, plan.IdleBackoff, out.Idle)
	require.Equal(t, time.Minute, out.RequeueAfter)
}

func TestLiveTemplateCannotBeRead(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.script[v1alpha1.TaskReplacePod] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("the pod comes"), nil }
	w.settle()
	was := w.node().Status.Plan.ID

	// An edit whose consequence depends on the live template waits for it.
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v3" })
	w.fail["live statefulset"] = errors.New("away")
	out := w.pass()
	require.Equal(t, was, w.node().Status.Plan.ID)
	require.Positive(t, out.RequeueAfter, "no hot loop while the API server is away")

	// So does a failure.
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.script[v1alpha1.TaskReplacePod] = func(tasks.Input) (tasks.Result, error) { return tasks.Result{}, tasks.Terminalf("scaled") }
	out = w.pass()
	require.Equal(t, was, w.node().Status.Plan.ID)
	require.Positive(t, out.RequeueAfter)
	require.Empty(t, w.ended)
	delete(w.fail, "live statefulset")
	delete(w.script, v1alpha1.TaskReplacePod)
	w.settle()
	require.Equal(t, "seid:v2", w.node().Status.CurrentImage)
}
