package fleet

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/fleet"
)

// ControlOptions of `seictl fleet pause`, `resume`, `abort` and `undo`.
type ControlOptions struct {
	*factory.Factory
	// Name of the rollout; the latest of Chain when empty.
	Name     string
	Chain    string
	Driving  DriveFlags
	Strategy StrategyFlags
	Output   output.Format
	// Yes answers the question beforehand; of undo.
	Yes, DryRun bool
}

func control(f *factory.Factory, formats ...string) *ControlOptions {
	return &ControlOptions{Factory: f, Output: output.NewFormat(formats...)}
}

func (o *ControlOptions) command(use, short, long string, run func(context.Context, *ControlOptions) error,
	runF func(context.Context, *ControlOptions) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " [NAME | --chain CHAIN]", Short: short, Long: long,
		Example: "  seictl fleet " + use + " --chain pacific-1",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("one rollout at a time: found %d names", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Name = args[0]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Chain, "chain", "", "the latest rollout of a chain")
	return cmd
}

// NewCmdPause returns `seictl fleet pause`.
func NewCmdPause(f *factory.Factory, runF func(context.Context, *ControlOptions) error) *cobra.Command {
	o := control(f)
	return o.command("pause", "Pause a rollout: nodes in a pod cycle finish, no more start",
		"Pause a rollout from anywhere. Whoever drives it lets the nodes that are in a pod cycle finish, starts no more, and ends with 3.",
		func(ctx context.Context, o *ControlOptions) error { return o.stop(ctx, fleet.Paused) }, runF)
}

// NewCmdAbort returns `seictl fleet abort`.
func NewCmdAbort(f *factory.Factory, runF func(context.Context, *ControlOptions) error) *cobra.Command {
	o := control(f)
	return o.command("abort", "End a rollout: nodes in a pod cycle finish, no more start",
		"End a rollout from anywhere. Nodes that have the change keep it: undo takes it back. Children of a SeiNodeDeployment that\n"+
			"had no turn keep what they have until the next rollout, or an undo.",
		func(ctx context.Context, o *ControlOptions) error { return o.stop(ctx, fleet.Aborted) }, runF)
}

// stop writes a state that whoever drives the rollout takes over.
func (o *ControlOptions) stop(ctx context.Context, state fleet.State) error {
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, output: &o.Output}
	e, err := s.store.find(ctx, o.Name, o.Chain, func(r *fleet.Record) bool { return r.State.Open() }, " that is not at its end")
	if err != nil {
		return err
	}
	who := s.who(ctx)
	changed := false
	e, err = s.store.change(ctx, e, func(r *fleet.Record) error {
		changed = false
		switch {
		case r.State == state:
			return nil
		case !r.State.Open():
			return fmt.Errorf("rollout %s is %s already; next: seictl fleet history --chain %s", r.Name, r.State, r.Chain)
		case state == fleet.Paused && r.State == fleet.Failed:
			return fmt.Errorf("rollout %s is failed, and starts nothing more; next: seictl fleet resume --chain %s", r.Name, r.Chain)
		}
		changed = true
		r.State, r.Reason, r.By = state, "asked for by "+who, ""
		return nil
	})
	if err != nil {
		return err
	}
	p := o.Printer()
	switch {
	case !changed:
		p.Line("rollout %s is %s already", e.record.Name, state)
	case e.record.Driver != "":
		p.Line("rollout %s is %s: %s lets the nodes in a pod cycle finish and starts no more", e.record.Name, state, e.record.Driver)
	default:
		p.Line("rollout %s is %s", e.record.Name, state)
	}
	p.Line("  %s", countsText(e.record.Count()))
	if state == fleet.Paused {
		p.Line("next: %s", s.command("resume", e.record.Chain))
	} else {
		p.Line("next: %s, to go back", s.command("undo", e.record.Chain))
	}
	return nil
}

// NewCmdResume returns `seictl fleet resume`.
func NewCmdResume(f *factory.Factory, runF func(context.Context, *ControlOptions) error) *cobra.Command {
	o := control(f, output.JSON)
	cmd := o.command("resume", "Go on with a rollout that was interrupted, paused or failed",
		"Go on with a rollout, from any machine. Nodes that failed or were skipped get another turn, canaries first.",
		resumeRun, runF)
	o.Driving.AddFlags(cmd.Flags())
	o.Output.AddFlag(cmd.Flags())
	return cmd
}

func resumeRun(ctx context.Context, o *ControlOptions) error {
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Driving.Timeout)
	defer cancel()
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, flags: &o.Driving, output: &o.Output}
	e, err := s.store.find(ctx, o.Name, o.Chain, func(r *fleet.Record) bool { return r.State.Open() }, " that is not at its end")
	if err != nil {
		return err
	}
	if !e.record.State.Open() {
		return fmt.Errorf("rollout %s is %s: there is nothing to resume; next: seictl fleet plan --chain %s", e.record.Name, e.record.State, e.record.Chain)
	}
	platform, _, err := c.Settings(ctx)
	if err != nil {
		return err
	}
	seen, err := gather(ctx, o.Factory, c, e.record.Chain)
	if err != nil {
		return err
	}
	return s.resume(ctx, e, &proposal{settings: platform, observed: seen})
}

// resume goes on with a rollout under the locks, as it is stored by then.
func (s *session) resume(ctx context.Context, e *entry, p *proposal) error {
	r := s.runner(p)
	defer r.report.close()
	l, err := r.take(ctx, e.record.Chain)
	if err != nil {
		return err
	}
	if r.entry, err = s.store.get(ctx, e.record.Name); err != nil {
		l.release(ctx, r)
		return err
	}
	if !r.entry.record.State.Open() {
		l.release(ctx, r)
		return s.finish(r, nil)
	}
	r.entry.record.Reopen(viewOf(p.observed, s.Now()))
	r.report.start(r.entry.record, "going on with")
	return s.finish(r, r.run(ctx, l))
}

// NewCmdUndo returns `seictl fleet undo`.
func NewCmdUndo(f *factory.Factory, runF func(context.Context, *ControlOptions) error) *cobra.Command {
	o := control(f, output.JSON)
	cmd := o.command("undo", "Take a rollout back: each node to its own previous value",
		"Take a rollout back, however far it came, as a rollout of its own with the same gates: each object gets the TLS that it had\n"+
			"before. What somebody changed since is left alone.",
		undoRun, runF)
	o.Strategy.AddFlags(cmd.Flags())
	o.Driving.AddFlags(cmd.Flags())
	o.Output.AddFlag(cmd.Flags())
	cmd.Flags().BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "show what would be done and stop")
	return cmd
}

func undoRun(ctx context.Context, o *ControlOptions) error {
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Driving.Timeout)
	defer cancel()
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, flags: &o.Driving, output: &o.Output}
	// An undo that was interrupted goes on. One that is complete is taken back by its name only: the same command twice is no
	// way back to where it began.
	e, err := s.store.find(ctx, o.Name, o.Chain, func(r *fleet.Record) bool { return r.Action != actionUndo || r.State.Open() }, "")
	if err != nil {
		return err
	}
	if e.record.Action == actionUndo && e.record.State.Open() {
		return resumeRun(ctx, o)
	}
	platform, _, err := c.Settings(ctx)
	if err != nil {
		return err
	}
	how, err := o.Strategy.Strategy(e.record.Chain, platform)
	if err != nil {
		return err
	}
	// What could be changed can be taken back.
	how.IncludeValidators = how.IncludeValidators || e.record.Strategy.IncludeValidators
	how.ForceManaged = how.ForceManaged || e.record.Strategy.ForceManaged
	seen, err := gather(ctx, o.Factory, c, e.record.Chain)
	if err != nil {
		return err
	}
	goal, warnings := fleet.UndoGoal(e.record, viewOf(seen, o.Now()))
	seen.warnings = append(seen.warnings, warnings...)
	selection := fleet.Selection{Chain: e.record.Chain}
	p, err := build(ctx, o.Factory, c, fleet.Input{Selection: selection, Goal: goal, Strategy: how, Settings: platform}, seen)
	if err != nil {
		return err
	}
	p.record.Action, p.record.Undoes = actionUndo, e.record.Name
	if e.record.State.Open() {
		s.replaces = e
	}
	if p.plan.Working() == 0 && s.replaces != nil && !o.DryRun {
		if err := s.replace(ctx, "undo"); err != nil {
			return err
		}
	}
	return s.propose(ctx, p, o.Yes, o.DryRun, true)
}
