package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/tasks"
)

func TestPassPatchesOnce(t *testing.T) {
	n := running(nil)
	secret := pair(t, n, secretTLS("x"), t0.Add(time.Hour))
	w := newWorld(t, n, append(objects(t, n), secret)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", secretTLS("x") })
	w.settle()

	got := w.node()
	require.Equal(t, "seid:v2", got.Status.CurrentImage)
	require.True(t, got.Status.CurrentSidecarTLS.Config().Equal(secretTLS("x")))
	require.Equal(t, fingerprint(t, secret), got.Status.CurrentSidecarTLS.FingerprintSHA256)
	require.Nil(t, got.Status.Plan)
	require.Equal(t, v1alpha1.PlanComplete, got.Status.LastPlan.Outcome)
	require.Len(t, w.ran, 8)
	require.Equal(t, []string{"NodeUpdate Complete"}, w.ended)
	require.Zero(t, w.requests["patch node"]+w.requests["patch object"], "the engine itself writes nothing but the status")
	// Built, ready to be marked, accepted and complete, conditions after it: not one for every task.
	require.LessOrEqual(t, w.requests["patch status"], 5)
}

func TestSettledWritesNothing(t *testing.T) {
	for name, tls := range map[string]*v1alpha1.SidecarTLSConfig{
		"TLS off": nil, "issuer": issuerTLS("a"), "provisioned": secretTLS("x"),
	} {
		t.Run(name, func(t *testing.T) {
			n := running(tls)
			w := newWorld(t, n, stamp(t, n, objects(t, n))...)
			out := w.settle()
			require.True(t, out.Settled)
			require.Equal(t, "True Ready", condition(w.node(), v1alpha1.ConditionReady))

			version := w.node().ResourceVersion
			clear(w.requests)
			for range 3 {
				out = w.pass()
				require.False(t, out.Changed)
				require.True(t, out.Settled)
			}
			require.Equal(t, version, w.node().ResourceVersion)
			for what, times := range w.requests {
				require.NotContains(t, what, "patch", "%d times", times)
				require.NotContains(t, what, "live", "%d times: the cache has it", times)
			}
			require.Empty(t, w.ran)
		})
	}
}

func TestNewPlanIsPersistedFirst(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("a") })
	out := w.pass()
	require.Empty(t, w.ran, "no task runs before the plan is stored")
	require.Equal(t, Immediately, out.RequeueAfter)
	p := w.node().Status.Plan
	require.Equal(t, v1alpha1.NodeUpdate, p.Kind)
	require.Equal(t, v1alpha1.TaskPending, p.Tasks[0].Status)
	require.Equal(t, "r1", p.Previous.ControllerRevision)

	// A plan that could not be stored runs no task either, and the next pass builds another.
	w = newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("a") })
	w.fail["patch status"] = errors.New("away")
	_, err := w.engine.Pass(t.Context(), w.node())
	require.Error(t, err)
	require.Nil(t, w.node().Status.Plan)
	require.Empty(t, w.ran)
}

func TestMarkReadyIsRecordedFirst(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	var recorded v1alpha1.TaskStatus
	w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) {
		recorded = w.node().Status.Plan.Task(v1alpha1.TaskMarkReady).Status
		return tasks.Completed(&v1alpha1.TaskOutput{Accepted: true}), nil
	}
	w.settle()
	require.Equal(t, v1alpha1.TaskRunning, recorded, "stored as started before it was sent")
}

// Acceptance is the point of no return: it is stored at once, though it is mere progress.
func TestAcceptanceIsStoredAtOnce(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) {
		r := tasks.Wait("waiting for seid")
		r.Output = &v1alpha1.TaskOutput{Accepted: true}
		return r, nil
	}
	for w.node().Status.Plan.Task(v1alpha1.TaskMarkReady) == nil || len(w.ran) == 0 || w.ran[len(w.ran)-1] != v1alpha1.TaskMarkReady {
		w.pass()
	}
	require.True(t, plan.PointOfNoReturn(w.node().Status.Plan))
}

// The pod becomes Ready between what a pass reads at its start and the task that waits for it.
func TestAPlanThatWaitedForThePodDoesNotEndWithOneThatIsNotReady(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	ready := func(status corev1.ConditionStatus) {
		var pod corev1.Pod
		require.NoError(t, w.client.Get(t.Context(), client.ObjectKey{Namespace: n.Namespace, Name: resources.PodName(n.Name)}, &pod))
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
		require.NoError(t, w.client.Status().Update(t.Context(), &pod))
	}
	asked := 0
	w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) {
		if asked++; asked == 1 {
			ready(corev1.ConditionFalse)
			r := tasks.Wait("waiting for seid")
			r.Output = &v1alpha1.TaskOutput{Accepted: true}
			return r, nil
		}
		ready(corev1.ConditionTrue)
		return tasks.Completed(&v1alpha1.TaskOutput{Accepted: true}), nil
	}
	for asked < 2 {
		w.pass()
	}
	require.Nil(t, w.node().Status.Plan)
	require.Equal(t, "True Ready", condition(w.node(), v1alpha1.ConditionReady))
}

func TestStampsLatchedTarget(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.script[v1alpha1.TaskReplacePod] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("the pod comes"), nil }
	w.settle()
	require.Equal(t, "seid:v1", w.node().Status.CurrentImage, "nothing is stamped before it was observed")

	// Paused, the plan runs to its end although the spec asks for another image by now.
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image, n.Spec.Paused = "seid:v3", true })
	delete(w.script, v1alpha1.TaskReplacePod)
	out := w.settle()
	require.Equal(t, "seid:v2", w.node().Status.CurrentImage, "the latched target, not the live spec")
	require.Equal(t, plan.IdlePaused, out.Idle)
	require.Equal(t, "False Paused", condition(w.node(), v1alpha1.ConditionReady))
}

func TestRollbackAndHold(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, append(objects(t, n), pair(t, n, secretTLS("x"), t0.Add(time.Hour)))...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", secretTLS("x") })
	w.script[v1alpha1.TaskObserveSidecarTLS] = func(in tasks.Input) (tasks.Result, error) {
		if in.Plan.Kind == v1alpha1.NodeUpdate {
			return tasks.Result{}, tasks.Terminalf("the proxy does not come up")
		}
		return tasks.Completed(nil), nil
	}
	out := w.settle()
	got := w.node()
	require.Equal(t, "seid:v1", got.Status.CurrentImage, "what was stamped is stamped back")
	require.Nil(t, got.Status.CurrentSidecarTLS)
	require.Equal(t, []string{"NodeUpdate Failed", "NodeRollback Complete", "NodeRepair Complete"}, w.ended,
		"the repair takes the proxy's configuration away, which nothing needs now")
	require.Equal(t, "False RolledBack", condition(got, v1alpha1.ConditionNodeUpdateInProgress))
	require.Equal(t, "False RolledBack", condition(got, v1alpha1.ConditionReady))
	require.Equal(t, plan.IdleHeld, out.Idle)
	require.False(t, out.Settled)
	require.True(t, got.Status.Hold.Target.Equal(v1alpha1.PlanTarget{Image: "seid:v2", SidecarTLS: secretTLS("x")}))
	require.NotEmpty(t, got.Status.Hold.SecretSHA256)

	// Held: nothing more happens, until a retry is requested.
	w.ran = nil
	require.False(t, w.pass().Changed)
	require.Empty(t, w.ran)
	delete(w.script, v1alpha1.TaskObserveSidecarTLS)
	w.edit(func(n *v1alpha1.SeiNode) {
		n.Annotations = map[string]string{v1alpha1.AnnotationRetryRequestedAt: "now"}
	})
	w.settle()
	require.Equal(t, "seid:v2", w.node().Status.CurrentImage)
	require.Nil(t, w.node().Status.Hold)
	require.Equal(t, "False UpdateComplete", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))
}

func TestFailedAfterMarkReadyHolds(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) {
		r := tasks.Wait("seid does not start")
		r.Output = &v1alpha1.TaskOutput{Accepted: true}
		return r, nil
	}
	w.settle()
	w.now = w.now.Add(time.Hour)
	w.settle()
	got := w.node()
	require.Equal(t, []string{"NodeUpdate Failed"}, w.ended)
	require.Equal(t, "seid:v2", got.Status.CurrentImage, "nothing is rolled back")
	require.Equal(t, "False UpdateFailed", condition(got, v1alpha1.ConditionNodeUpdateInProgress))
	require.NotNil(t, got.Status.Hold)
}

func TestFailedBeforeApplyIsRetried(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("typo") })
	w.script[v1alpha1.TaskWaitForSidecarTLSSecret] = func(tasks.Input) (tasks.Result, error) {
		return tasks.Result{}, tasks.Terminalf("denied")
	}
	out := w.settle()
	require.Equal(t, plan.IdleBackoff, out.Idle)
	require.Equal(t, time.Minute, out.RequeueAfter)
	require.Equal(t, "False UpdateFailed", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))
	require.Nil(t, w.node().Status.Hold)
	require.Equal(t, v1alpha1.PlanFailed, w.node().Status.Plan.Phase)

	w.engine.RetryNow(key)
	w.fail["patch status"] = errors.New("away")
	_, err := w.engine.Pass(t.Context(), w.node())
	require.Error(t, err)
	delete(w.fail, "patch status")
	require.Equal(t, int32(2), w.pass().Node.Status.Plan.Attempt, "a failed pass does not use up the request")

	// The edit is taken back: the failure is history, and no message promises another attempt.
	w.settle()
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = nil })
	require.True(t, w.settle().Settled)
	require.Nil(t, w.node().Status.Plan)
	require.Equal(t, "False Superseded", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))
	require.Equal(t, "True Ready", condition(w.node(), v1alpha1.ConditionReady))
}

func TestConflictSurfaces(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	stale := w.node()
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	_, err := w.engine.Pass(t.Context(), stale)
	require.True(t, apierrors.IsConflict(err), "%v", err)
}

func TestStaleCacheDoesNotUndoOurWrite(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	stale := w.node()
	first := w.pass().Node.Status.Plan.ID
	out, err := w.engine.Pass(t.Context(), stale)
	require.NoError(t, err)
	require.NotEmpty(t, w.ran, "it goes on with the plan that the cache does not show yet")
	require.Equal(t, first, out.Node.Status.Plan.ID)
}

func TestCancelledPassWritesNothing(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.pass()
	lost := errors.New("the Lease was lost")
	ctx, cancel := contextWithCause(t)
	w.script[v1alpha1.TaskApplyStatefulSet] = func(tasks.Input) (tasks.Result, error) {
		cancel(lost)
		return tasks.Completed(nil), nil
	}
	version := w.node().ResourceVersion
	_, err := w.engine.Pass(ctx, w.node())
	require.ErrorIs(t, err, lost)
	require.Equal(t, version, w.node().ResourceVersion)
}

func TestTerminatingRunsNoTask(t *testing.T) {
	n := running(nil)
	n.Finalizers = []string{"test/keep"}
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.pass()
	require.NoError(t, w.client.Delete(t.Context(), w.node()))
	w.settle()
	require.Empty(t, w.ran)
	require.Equal(t, v1alpha1.PhaseTerminating, w.node().Status.Phase)
	require.Equal(t, "False Terminating", condition(w.node(), v1alpha1.ConditionReady))
}

func TestNodeInitRuns(t *testing.T) {
	n := running(secretTLS("x"))
	objs := objects(t, n)
	n.Status = v1alpha1.SeiNodeStatus{}
	w := newWorld(t, n, objs...)
	require.Equal(t, v1alpha1.PhaseInitializing, w.pass().Node.Status.Phase)
	w.settle()
	got := w.node()
	require.Equal(t, v1alpha1.PhaseRunning, got.Status.Phase)
	require.Equal(t, []string{"NodeInit Complete"}, w.ended, "a node born with TLS runs no second plan")
	require.NotEmpty(t, got.Status.AppliedConfigHash)
	require.NotNil(t, got.Status.FirstReadyAt)
}

func TestNodeInitFails(t *testing.T) {
	n := running(nil)
	objs := objects(t, n)
	n.Status = v1alpha1.SeiNodeStatus{}
	w := newWorld(t, n, objs...)
	w.script[v1alpha1.TaskConfigValidate] = func(tasks.Input) (tasks.Result, error) {
		return tasks.Result{}, tasks.Terminalf("unknown setting")
	}
	for range 5 {
		w.settle()
		w.now = w.now.Add(time.Hour)
	}
	require.Equal(t, v1alpha1.PhaseFailed, w.node().Status.Phase)
	require.Equal(t, "False InitFailed", condition(w.node(), v1alpha1.ConditionReady))
	w.settle()
	require.Len(t, w.ended, 5, "held")

	delete(w.script, v1alpha1.TaskConfigValidate)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Overrides = map[string]string{"a": "b"} })
	w.settle()
	require.Equal(t, v1alpha1.PhaseRunning, w.node().Status.Phase)
}

func TestMarkReadyPlan(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.pod(func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Ready = false })
	w.health = 503
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Paused, n.Spec.Image = true, "seid:v2" })
	w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) {
		w.health = 200
		w.pod(func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Ready = true })
		return tasks.Completed(&v1alpha1.TaskOutput{Accepted: true}), nil
	}
	require.Equal(t, v1alpha1.MarkReady, w.pass().Node.Status.Plan.Kind)
	require.Equal(t, "False NotReady", condition(w.node(), v1alpha1.ConditionSidecarReady))
	w.settle()
	require.Equal(t, []string{"MarkReady Complete"}, w.ended)
	require.Equal(t, "True Ready", condition(w.node(), v1alpha1.ConditionSidecarReady))
}

// An update that gave way to a MarkReady is no longer in progress; taken back meanwhile, it never comes again.
func TestUpdateThatGaveWayIsNotInProgress(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("a") })
	w.script[v1alpha1.TaskWaitForSidecarTLSSecret] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("issuing"), nil }
	w.settle()
	require.Equal(t, "True TLSToggleStarted", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))
	w.pod(func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Ready = false })
	w.health = 503
	w.script[v1alpha1.TaskMarkReady] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("seid starts"), nil }
	w.settle()
	require.Equal(t, v1alpha1.MarkReady, w.node().Status.Plan.Kind)
	require.Equal(t, "False Superseded", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))

	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = nil })
	w.health = 200
	w.pod(func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].Ready = true })
	delete(w.script, v1alpha1.TaskMarkReady)
	w.settle()
	require.Equal(t, "True Ready", condition(w.node(), v1alpha1.ConditionReady))
}

func forbidden(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x", errors.New("no"))
}
