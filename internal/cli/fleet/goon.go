package fleet

import (
	"context"
	"fmt"
	"strings"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/pkg/fleet"
)

// answers are what was said beforehand on the command line.
type answers struct {
	yes, dryRun, skipPreflight bool
	// typed says whether a flag was given, and is not a default.
	typed func(flag string) bool
}

// goOn goes on with a rollout that is what the command asks for, the way it was started.
func (s *session) goOn(ctx context.Context, e *entry, p *proposal, a answers) error {
	r := e.record
	if a.dryRun {
		return s.left(r, p)
	}
	if d := differences(r, p.asked, a.typed); len(d) > 0 {
		return fmt.Errorf("rollout %s of chain %s is not at its end, and was started in another way: %s; nothing was changed; "+
			"next: %s to go on as it was started, or %s and this command again",
			r.Name, r.Chain, strings.Join(d, ", "), s.command("resume", r.Chain), s.command("abort", r.Chain))
	}
	if r.State == fleet.Paused {
		return s.stopped(r)
	}
	if r.Driver == "" {
		if err := s.fit(ctx, p, a); err != nil {
			return err
		}
		if !a.yes {
			if !s.output.Machine() {
				recordText(s.Notices(), s.now(r, p), s.Now())
			}
			if err := s.Confirm(fmt.Sprintf("Go on with rollout %s?", r.Name)); err != nil {
				return err
			}
		}
	}
	// What became of it while the locks were awaited was not agreed to.
	return s.resume(ctx, e, p, func(now fleet.State) bool { return now == fleet.Running || now == r.State && r.Driver == "" })
}

// fit makes the checks of the preflight.
func (s *session) fit(ctx context.Context, p *proposal, a answers) error {
	if a.skipPreflight {
		return nil
	}
	if err := p.check(ctx, s.Factory, s.cluster, s.flags.Drive); err != nil {
		return err
	}
	return p.refusal()
}

// stopped says that a rollout came to a stop that only resume goes on from.
func (s *session) stopped(r *fleet.Record) error {
	code := exit.Paused
	if r.State == fleet.Failed {
		code = exit.Failed
	}
	return exit.Errorf(code, "rollout %s is %s; nothing was changed; next: %s", r.Name, stateText(r), s.command("resume", r.Chain))
}

// left shows how far a rollout is, to whoever asked for nothing else.
func (s *session) left(r *fleet.Record, p *proposal) error {
	if !s.output.Machine() {
		recordText(s.Printer(), s.now(r, p), s.Now())
		return nil
	}
	return s.output.Write(s.Out, statusOf(s.now(r, p), p.observed))
}

// now is a record as it is with what was observed.
func (s *session) now(r *fleet.Record, p *proposal) *fleet.Record {
	now := r.Clone()
	fleet.Refresh(now, viewOf(p.observed, s.Now()))
	return now
}

// resume goes on with a rollout under the locks, as it is stored by then, if it may in the state that it has.
func (s *session) resume(ctx context.Context, e *entry, p *proposal, may func(fleet.State) bool) error {
	r := s.runner(p)
	defer r.report.close()
	for _, w := range p.observed.warnings {
		r.report.warn(w)
	}
	l, err := r.take(ctx, e.record.Chain)
	if err != nil {
		return err
	}
	goes, err := r.reopen(ctx, e.record.Name, may)
	switch {
	case err != nil:
		l.release(ctx, r)
		return err
	case !r.entry.record.State.Open():
		l.release(ctx, r)
		return s.finish(r, nil)
	case !goes:
		l.release(ctx, r)
		return s.stopped(r.entry.record)
	}
	r.report.start(r.entry.record, "going on with")
	return s.finish(r, r.run(ctx, l))
}

// reopen reads the record and the fleet as they are now, and has the rollout go on if it may. The wait for the locks may have
// been long.
func (r *runner) reopen(ctx context.Context, name string, may func(fleet.State) bool) (goes bool, err error) {
	if r.entry, err = r.store.get(ctx, name); err != nil {
		return false, err
	}
	record := r.entry.record
	if !record.State.Open() || !may(record.State) {
		return false, nil
	}
	if err := r.relist(ctx); err != nil {
		return false, err
	}
	record.Reopen(r.view())
	return true, nil
}

// differences are the flags in which a strategy is another one than that of a rollout.
func differences(r *fleet.Record, asked fleet.Strategy, typed func(flag string) bool) []string {
	was := r.Strategy
	canaries := 0
	for i := range r.Nodes {
		if r.CanaryWave(r.Nodes[i].Wave) {
			canaries++
		}
	}
	if asked.Canary > canaries && was.Canary == canaries && canaries > 0 {
		asked.Canary = canaries // there were no more nodes to be had
	}
	var out []string
	for _, f := range []struct {
		flag     string
		was, now any
	}{
		{"--canary", was.Canary, asked.Canary},
		{"--bake", was.Bake, asked.Bake},
		{"--max-unavailable", was.MaxUnavailable.String(), asked.MaxUnavailable.String()},
		{"--max-failures", was.MaxFailures, asked.MaxFailures},
		{"--on-failure", onFailure(was), onFailure(asked)},
		{"--include-validators", was.IncludeValidators, asked.IncludeValidators},
		{"--force-managed", was.ForceManaged, asked.ForceManaged},
		{"--gate-timeout", was.GateTimeout, asked.GateTimeout},
	} {
		if f.was != f.now {
			text := fmt.Sprintf("%s was %v, found %v", f.flag, f.was, f.now)
			if typed != nil && !typed(f.flag[2:]) {
				text += " by default"
			}
			out = append(out, text)
		}
	}
	return out
}

func onFailure(s fleet.Strategy) string {
	if s.Continue {
		return onFailureContinue
	}
	return onFailurePause
}
