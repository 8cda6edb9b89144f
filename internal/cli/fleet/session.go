package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	authv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/operator"
)

// session is what commands that carry rollouts out share.
type session struct {
	*factory.Factory
	cluster *factory.Cluster
	store   *store
	flags   *DriveFlags
	output  *output.Format
	// stream is that of the command; nil for one of its own.
	stream *stream
	// replaces is the rollout whose place the new one takes.
	replaces *entry
	// older are the rollouts that were, the latest first.
	older []*fleet.Record
}

// open is the rollout of a chain that is not at its end; nil for none.
func (s *session) open(ctx context.Context, chain string) (*entry, error) {
	all, err := s.store.list(ctx, chain)
	if err != nil {
		return nil, err
	}
	s.older = nil
	var open *entry
	for _, e := range all {
		s.older = append(s.older, e.record)
		if open == nil && e.record.State.Open() {
			open = e
		}
	}
	if open == nil {
		return nil, nil
	}
	return open, s.alive(ctx, open.record)
}

// alive clears the driver of a rollout when it is gone without having said so, as after a kill -9.
func (s *session) alive(ctx context.Context, r *fleet.Record) error {
	if r.Driver == "" {
		return nil
	}
	l, err := lock.NewForConfig(s.cluster.Config, lock.Self(lock.KindCLI), lock.Options{Name: leaseName(r.Chain)})
	if err != nil {
		return fmt.Errorf("preparing the lock: %w", err)
	}
	switch held, err := l.Peek(ctx); {
	case err != nil:
		// Whoever may not look takes the record's word.
		return nil //nolint:nilerr // the record says enough
	case held == nil, held.Expired(s.Now()):
		r.Driver = ""
	}
	return nil
}

// replace ends the rollout whose place another takes.
func (s *session) replace(ctx context.Context, by string) error {
	if s.replaces == nil {
		return nil
	}
	_, err := s.store.change(ctx, s.replaces, func(r *fleet.Record) error {
		if r.State.Open() {
			r.State, r.Reason = fleet.Aborted, "rollout "+by+" took its place"
		}
		return nil
	})
	return err
}

// who is the user as the cluster knows them, and the machine.
func (s *session) who(ctx context.Context) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	review, err := s.cluster.Kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username == "" {
		return "unknown user on " + host
	}
	return review.Status.UserInfo.Username + " on " + host
}

// runner prepares the runner of a proposal.
func (s *session) runner(p *proposal) *runner {
	r := &runner{
		Factory: s.Factory, cluster: s.cluster, settings: p.settings, store: s.store, flags: s.flags,
		report: s.reporter(), wake: make(chan struct{}, 1),
		nodes:       map[types.NamespacedName]*v1alpha1.SeiNode{},
		deployments: map[types.NamespacedName]*v1alpha1.SeiNodeDeployment{},
	}
	r.know(p.observed)
	r.prober = &lazyProber{session: s}
	return r
}

// reporter tells of what the session does; as JSON, in the one stream of the command.
func (s *session) reporter() *reporter {
	r := newReporter(s.Factory, s.output)
	if r.stream != nil && s.stream != nil {
		r.stream = s.stream
	}
	return r
}

// lazyProber makes its dialer when the first node is asked.
type lazyProber struct {
	session *session
	prober  *fleet.RPCProber
	err     error
	once    sync.Once
}

// Chain implements fleet.Prober.
func (l *lazyProber) Chain(ctx context.Context, pod fleet.Pod) (int64, bool, error) {
	l.once.Do(func() {
		connector, err := operator.NewConnector(l.session.cluster.Config, !inCluster())
		if err != nil {
			l.err = fmt.Errorf("preparing connections to pods: %w", err)
			return
		}
		l.prober = &fleet.RPCProber{Dialer: connector.Dialer}
	})
	if l.err != nil {
		return 0, false, l.err
	}
	return l.prober.Chain(ctx, pod)
}

// nothing ends a command that has nothing to change.
func (s *session) nothing(p *proposal) error {
	code, why := leftCode(p.record)
	if s.output.Machine() {
		report := s.reporter()
		report.start(p.record, "nothing to do")
		report.mu.Lock()
		end := Event{Type: eventEnd, Chain: p.record.Chain, State: fleet.Complete, Left: p.record.Left, ExitCode: &code, Reason: "nothing to do"}
		if why != "" {
			end.Reason, end.Next = why, s.command("plan", p.record.Chain)
		}
		report.tell(end)
		report.mu.Unlock()
		return exit.Silent(code)
	}
	if why != "" {
		return exit.Errorf(code, "nothing was changed: %s; next: %s", why, s.command("plan", p.record.Chain))
	}
	return nil
}

// leftCode is the exit code for the nodes that a rollout leaves alone although they are not as they should be. That objects
// are managed elsewhere, and that validators were not asked for, is as it should be.
func leftCode(r *fleet.Record) (code int, why string) {
	blocked, paused := 0, 0
	for i := range r.Left {
		switch r.Left[i].Need {
		case fleet.NeedBlocked:
			blocked++
		case fleet.NeedPaused:
			paused++
		}
	}
	for i := range r.Nodes {
		// A node that is gone is nobody's to change.
		if r.Nodes[i].Outcome == fleet.Skipped && !r.Nodes[i].Gone {
			paused++
		}
	}
	switch {
	case blocked > 0:
		return exit.Failed, fmt.Sprintf("%s cannot be changed now", count(blocked, "node"))
	case paused > 0:
		return exit.Paused, fmt.Sprintf("%s paused", count(paused, "node"))
	}
	return exit.OK, ""
}

// finish tells how a rollout came out, and turns that into an exit code. ended is why the driving ended early.
func (s *session) finish(r *runner, ended error) error {
	r.report.close()
	record := r.entry.record
	code, next := s.outcome(record)
	if ended != nil {
		code, next = exit.Code(ended), s.command("resume", record.Chain)
	}
	if s.output.Machine() {
		r.report.mu.Lock()
		end := Event{Type: eventEnd, Rollout: record.Name, Chain: record.Chain, Action: record.Action, State: record.State, Reason: record.Reason,
			Counts: record.Count(), Causes: record.Causes(), Left: record.Left, ExitCode: &code, Next: next}
		if ended != nil {
			end.Reason, _, _ = strings.Cut(exit.Message(ended), nextCommand)
		}
		if errors.Is(ended, errDeleted) {
			end.Next = s.command("plan", record.Chain)
		}
		r.report.tell(end)
		r.report.mu.Unlock()
	} else if ended == nil {
		recordText(s.Printer(), record, s.Now())
	}
	if ended != nil {
		var cycling []types.NamespacedName
		if !r.watches {
			cycling = r.left()
		}
		return s.resumable(record, cycling, ended, code, next)
	}
	if next == "" || s.output.Machine() {
		return exit.Silent(code)
	}
	return exit.Errorf(code, "rollout %s is %s; next: %s", record.Name, stateText(record), next)
}

// outcome is the exit code of a rollout that came to rest, and the next command; empty when there is none.
func (s *session) outcome(r *fleet.Record) (code int, next string) {
	resume, undo := s.command("resume", r.Chain), s.command("undo", r.Chain)
	switch r.State {
	case fleet.Paused:
		return exit.Paused, resume
	case fleet.Failed:
		if r.Action == actionUndo {
			return exit.Failed, "fix the cause, then " + resume
		}
		return exit.Failed, "fix the cause, then " + resume + ", or go back with " + undo
	case fleet.Aborted:
		return exit.Failed, undo + " to go back, or the same command again to go on"
	}
	if r.Count()[fleet.NodeFailed] > 0 {
		return exit.Failed, "fix the cause, then the same command again, or go back with " + undo
	}
	if code, why := leftCode(r); code != exit.OK {
		return code, why + ": the same command again when they can be changed"
	}
	return exit.OK, ""
}

// resumable says how far it came and how to go on.
func (s *session) resumable(r *fleet.Record, cycling []types.NamespacedName, ended error, code int, next string) error {
	text := ended.Error()
	switch code {
	case exit.Interrupted:
		text = "interrupted"
	case exit.TimedOut:
		text = fmt.Sprintf("timed out after %s", s.flags.Timeout)
	case exit.LockHeld:
		return ended
	}
	if len(cycling) > 0 {
		text += fmt.Sprintf("; %s in a pod cycle, waiting until somebody drives it", few(names(cycling)))
	}
	if errors.Is(ended, errDeleted) {
		return exit.Errorf(code, "%s (%s)", text, countsText(r.Count()))
	}
	return exit.Errorf(code, "%s (%s); nothing is lost, rollout %s goes on where it stopped; next: %s",
		text, countsText(r.Count()), r.Name, next)
}

// command is the next command to run, with the flags that say which cluster.
func (s *session) command(verb, chain string) string {
	out := fmt.Sprintf("seictl fleet %s --chain %s", verb, chain)
	for _, f := range []struct {
		name  string
		value *string
	}{{"kubeconfig", s.Flags.KubeConfig}, {"context", s.Flags.Context}, {"cluster", s.Flags.ClusterName}} {
		if f.value != nil && *f.value != "" {
			out += fmt.Sprintf(" --%s %s", f.name, *f.value)
		}
	}
	return out
}

// stateText is the state of a rollout as people read it.
func stateText(r *fleet.Record) string {
	switch {
	case r.State == fleet.Running && r.Driver == "":
		return "unfinished: nobody drives it"
	case r.State == fleet.Complete && r.Count()[fleet.NodeFailed] > 0:
		return fmt.Sprintf("complete, with %s", count(r.Count()[fleet.NodeFailed], "failed node"))
	case r.Reason != "":
		text := string(r.State) + ": " + r.Reason
		if r.By != "" {
			text += " (" + r.By + ")"
		}
		return text
	}
	return strings.TrimSpace(string(r.State))
}
