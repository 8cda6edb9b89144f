// Package tasks holds the steps of a plan: one file per task. A task reads its frozen params, does its I/O and returns one
// result. Every task is safe to run twice, because a driver can die between a side effect and the record of it.
package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/failpoint"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// FieldManager owns everything that tasks apply.
const FieldManager = "seictl-engine"

// Phase says how far a run of a task got.
type Phase string

// Phases of a run.
const (
	// Waiting: the task has to run again, when a watch or RequeueAfter says so.
	Waiting Phase = "Waiting"
	// Done: the task is complete.
	Done Phase = "Done"
)

// Result is what one run of a task returns.
type Result struct {
	// Phase says how far the run got.
	Phase Phase
	// Message says what the task waits for, in words for whoever is on call. It must be stable while nothing changes: a
	// changed message is a write.
	Message string
	// RequeueAfter asks for another run where no watch can tell; zero when a watch will.
	RequeueAfter time.Duration
	// Output is kept with the task, for the tasks after it. Nil keeps what was there.
	Output *v1alpha1.TaskOutput
}

// Wait is a Waiting result.
func Wait(format string, args ...any) Result {
	return Result{Phase: Waiting, Message: fmt.Sprintf(format, args...)}
}

// WaitPolling is a Waiting result that asks for another run after d, for what no watch can tell.
func WaitPolling(d time.Duration, format string, args ...any) Result {
	r := Wait(format, args...)
	r.RequeueAfter = d
	return r
}

// Completed is a Done result.
func Completed(out *v1alpha1.TaskOutput) Result { return Result{Phase: Done, Output: out} }

type terminalError struct{ err error }

func (e *terminalError) Error() string { return e.err.Error() }
func (e *terminalError) Unwrap() error { return e.err }

// Terminal marks an error that no retry can help: the plan fails. Any other error is transient.
func Terminal(err error) error { return &terminalError{err: err} }

// Terminalf is Terminal of a formatted error.
func Terminalf(format string, args ...any) error { return Terminal(fmt.Errorf(format, args...)) }

// IsTerminal says whether an error is terminal.
func IsTerminal(err error) bool {
	var t *terminalError
	return errors.As(err, &t)
}

// Env is what tasks work with.
type Env struct {
	// Client writes, and reads from the cache where it has one.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Sidecar opens connections to sidecars.
	Sidecar *sidecar.Connector
	// Settings of the platform.
	Settings settings.Settings
	// Now tells the time.
	Now func() time.Time
	// Judged is the verdict on a Secret where its driver has read this version already; nil, or false, where it has to be read.
	Judged func(ctx context.Context, want certs.Want) (certs.Verdict, bool)
	// DryRun says that the clients store nothing.
	DryRun bool
}

// hit is a failpoint, which stands for a crash around a side effect: a dry run has none. Its names are "point/task" and,
// for one kind of plan only, "kind:point/task".
func (e *Env) hit(point string, in Input) {
	if !e.DryRun {
		name := point + "/" + string(in.Task.Type)
		failpoint.Hit(name)
		failpoint.Hit(string(in.Plan.Kind) + ":" + name)
	}
}

// Input is the node, plan and task of one run. Tasks only read them; the spec of the node is no input of a task, its
// params are.
type Input struct {
	Node *v1alpha1.SeiNode
	Plan *v1alpha1.Plan
	Task *v1alpha1.Task
}

type runner func(context.Context, *Env, Input) (Result, error)

var registry = map[v1alpha1.TaskType]runner{}

// register adds a task. params picks the field of the params that belongs to its type.
func register[P any](t v1alpha1.TaskType, params func(*v1alpha1.TaskParams) *P,
	run func(context.Context, *Env, Input, P) (Result, error)) {
	if _, dup := registry[t]; dup {
		panic("task registered twice: " + string(t))
	}
	registry[t] = func(ctx context.Context, env *Env, in Input) (Result, error) {
		p := params(&in.Task.Params)
		if p == nil {
			return Result{}, Terminalf("task %s of plan %s has no params", t, in.Plan.ID)
		}
		return run(ctx, env, in, *p)
	}
}

// Registered says whether a task type is known.
func Registered(t v1alpha1.TaskType) bool {
	_, ok := registry[t]
	return ok
}

// Run runs one task once.
func Run(ctx context.Context, env *Env, in Input) (Result, error) {
	run, ok := registry[in.Task.Type]
	if !ok {
		return Result{}, Terminalf("unknown task type %q: the plan was written by another version of seictl", in.Task.Type)
	}
	env.hit("before", in)
	result, err := run(ctx, env, in)
	env.hit("after", in)
	return result, err
}
