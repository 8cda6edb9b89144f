package plan

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// Run is what one run of the current task brought.
type Run struct {
	// Done says that the task is complete.
	Done bool
	// Message says what it waits for.
	Message string
	// Output replaces that of earlier runs; nil keeps it.
	Output *v1alpha1.TaskOutput
	// Err is the error of the run. It is transient unless Terminal.
	Err      error
	Terminal bool
}

// Step says what follows a run.
type Step string

// What follows a run.
const (
	// StepNext: the next task can run.
	StepNext Step = "Next"
	// StepWait: the same task has to run again.
	StepWait Step = "Wait"
	// StepFinished: every task has ended.
	StepFinished Step = "Finished"
	// StepFailed: the plan failed.
	StepFailed Step = "Failed"
)

// Current is the index of the task to run; -1 when every task has ended.
func Current(p *v1alpha1.Plan) int {
	for i := range p.Tasks {
		switch p.Tasks[i].Status {
		case v1alpha1.TaskComplete, v1alpha1.TaskSkipped:
		default:
			return i
		}
	}
	return -1
}

// Start marks the current task as started and sets its deadline: time in a queue or in pause does not count.
func Start(p *v1alpha1.Plan, i int, s *settings.Settings, now time.Time) {
	t := &p.Tasks[i]
	if t.Status == v1alpha1.TaskRunning {
		return
	}
	started := metav1.NewMicroTime(now)
	t.Status, t.StartedAt = v1alpha1.TaskRunning, &started
	Rearm(p, i, s, now)
}

// Rearm sets the deadline of a running task anew, as when nobody drove the plan for a while.
func Rearm(p *v1alpha1.Plan, i int, s *settings.Settings, now time.Time) {
	deadline := metav1.NewMicroTime(now.Add(Budget(p, i, s)))
	p.Tasks[i].Deadline = &deadline
}

// Park returns a running task to Pending, so that the time in pause does not count.
func Park(p *v1alpha1.Plan, i int, message string) {
	t := &p.Tasks[i]
	t.Status, t.StartedAt, t.Deadline, t.Message = v1alpha1.TaskPending, nil, nil, message
}

// Budget is how long a task may take, from its start.
func Budget(p *v1alpha1.Plan, i int, s *settings.Settings) time.Duration {
	t, d := &p.Tasks[i], &s.Deadlines
	switch t.Type {
	case v1alpha1.TaskWaitForSidecarTLSSecret:
		return d.Certificate.Duration
	case v1alpha1.TaskReplacePod:
		return time.Duration(s.TerminationGracePeriodSeconds)*time.Second + d.PodReplace.Duration
	case v1alpha1.TaskObserveImage, v1alpha1.TaskObserveSidecarTLS:
		return d.Observe.Duration
	case v1alpha1.TaskConfigApply, v1alpha1.TaskConfigValidate:
		return d.SidecarTask.Duration
	case v1alpha1.TaskMarkReady:
		if t.Output != nil && t.Output.Accepted {
			return d.Readiness.Duration
		}
		return d.MarkReadyAccept.Duration
	case v1alpha1.TaskDeleteRBACProxyConfig, v1alpha1.TaskDeleteSidecarCert:
		return d.Cleanup.Duration
	}
	return d.Apply.Duration
}

// Advance records one run of task i and says what follows.
func Advance(p *v1alpha1.Plan, i int, run Run, s *settings.Settings, now time.Time) Step {
	t := &p.Tasks[i]
	accepted := Accepted(t)
	if run.Output != nil {
		t.Output = run.Output
	}
	if Accepted(t) && !accepted {
		// From here on it is the readiness of the node that is waited for.
		Rearm(p, i, s, now)
	}
	switch {
	case run.Err == nil && run.Done:
		finish(t, v1alpha1.TaskComplete, now)
		t.Message, t.Error = "", ""
		return next(p, now)
	case run.Err == nil:
		t.Message, t.Error = run.Message, ""
		if !expired(t, now) {
			return StepWait
		}
		return fail(p, i, "not done by its deadline: "+orElse(run.Message, "no reason known"), now)
	}
	t.Error = run.Err.Error()
	t.Attempts++
	if run.Terminal {
		return fail(p, i, t.Error, now)
	}
	if expired(t, now) {
		return fail(p, i, fmt.Sprintf("not done by its deadline after %d errors, the last: %s", t.Attempts, t.Error), now)
	}
	return StepWait
}

// RetryDelay is how long to wait after a transient error: one second, doubling to thirty.
func RetryDelay(t *v1alpha1.Task) time.Duration {
	return backoff(time.Second, 30*time.Second, t.Attempts)
}

// Backoff is how long to wait before the next attempt after a plan failed.
func Backoff(s *settings.Settings, attempt int32) time.Duration {
	return backoff(s.Backoff.Initial.Duration, s.Backoff.Max.Duration, attempt)
}

func backoff(initial, limit time.Duration, attempt int32) time.Duration {
	d := initial
	for range max(attempt-1, 0) {
		if d *= 2; d >= limit {
			return limit
		}
	}
	return min(d, limit)
}

// Accepted says whether a task's sidecar accepted mark-ready.
func Accepted(t *v1alpha1.Task) bool { return t != nil && t.Output != nil && t.Output.Accepted }

// PointOfNoReturn says whether a plan's mark-ready was accepted: a new seid may have touched its data.
func PointOfNoReturn(p *v1alpha1.Plan) bool {
	t := p.Task(v1alpha1.TaskMarkReady)
	return t != nil && (t.Status == v1alpha1.TaskComplete || Accepted(t))
}

// ObserversPassed says whether every observer of a plan is complete; false for a plan without observers.
func ObserversPassed(p *v1alpha1.Plan) bool {
	found := false
	for i := range p.Tasks {
		switch p.Tasks[i].Type {
		case v1alpha1.TaskObserveImage, v1alpha1.TaskObserveSidecarTLS:
			if found = true; p.Tasks[i].Status != v1alpha1.TaskComplete {
				return false
			}
		}
	}
	return found
}

// BeforeTemplate says whether task i comes before the end of apply-statefulset: where a pause, a queue and a missing
// slot hold a plan. A plan without that task is held anywhere.
func BeforeTemplate(p *v1alpha1.Plan, i int) bool {
	for j := range i {
		if p.Tasks[j].Type == v1alpha1.TaskApplyStatefulSet {
			return false
		}
	}
	return true
}

func expired(t *v1alpha1.Task, now time.Time) bool {
	return t.Deadline != nil && now.After(t.Deadline.Time)
}

func finish(t *v1alpha1.Task, status v1alpha1.TaskStatus, now time.Time) {
	at := metav1.NewMicroTime(now)
	t.Status, t.FinishedAt = status, &at
}

func next(p *v1alpha1.Plan, now time.Time) Step {
	if Current(p) >= 0 {
		return StepNext
	}
	end(p, v1alpha1.PlanComplete, now)
	return StepFinished
}

// fail ends a plan at task i; the cleanup of a NodeUpdate only warns, a NodeRepair comes back to it.
func fail(p *v1alpha1.Plan, i int, detail string, now time.Time) Step {
	t := &p.Tasks[i]
	if p.Kind == v1alpha1.NodeUpdate && cleanup(t.Type) {
		finish(t, v1alpha1.TaskSkipped, now)
		t.Error = detail
		return next(p, now)
	}
	finish(t, v1alpha1.TaskFailed, now)
	index := int32(i)
	p.FailedTaskIndex, p.FailedTaskDetail = &index, fmt.Sprintf("%s: %s", t.Type, detail)
	end(p, v1alpha1.PlanFailed, now)
	return StepFailed
}

func cleanup(t v1alpha1.TaskType) bool {
	return t == v1alpha1.TaskDeleteRBACProxyConfig || t == v1alpha1.TaskDeleteSidecarCert
}

func end(p *v1alpha1.Plan, phase v1alpha1.PlanPhase, now time.Time) {
	at := metav1.NewMicroTime(now)
	p.Phase, p.FinishedAt = phase, &at
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
