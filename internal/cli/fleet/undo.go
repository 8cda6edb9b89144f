package fleet

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

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
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, flags: &o.Driving, output: &o.Output, stream: o.stream}
	// An undo that was interrupted goes on. One that is complete is taken back by its name only: the same command twice is no
	// way back to where it began.
	e, err := s.store.find(ctx, o.Name, o.Chain, func(r *fleet.Record) bool { return r.Action != actionUndo || r.State.Open() }, "")
	if err != nil {
		return err
	}
	if e.record.Action == actionUndo && e.record.State.Open() {
		return o.undoGoesOn(ctx, s, e)
	}
	p, open, err := o.undoing(ctx, s, e.record.Name)
	if err != nil {
		return err
	}
	switch {
	case open == nil:
	case open.record.Name != e.record.Name && !o.DryRun:
		return fmt.Errorf("rollout %s of chain %s (%s) is not at its end: nothing was changed; next: %s, or %s",
			open.record.Name, open.record.Chain, open.record.Action, s.command("resume", open.record.Chain), s.command("abort", open.record.Chain))
	case open.record.Driver != "" && !o.DryRun && o.Driving.LockTimeout == 0:
		return exit.Errorf(exit.LockHeld, "rollout %s is under way, driven by %s; nothing was changed; next: %s, and then undo",
			open.record.Name, open.record.Driver, s.command("abort", open.record.Chain))
	default:
		s.replaces = open
	}
	return s.propose(ctx, p, answers{yes: o.Yes, dryRun: o.DryRun, skipPreflight: true, typed: o.Strategy.typed},
		func(ctx context.Context) (*proposal, *entry, error) { return o.undoing(ctx, s, e.record.Name) })
}

// undoing plans the way back from a rollout as it is stored now, and finds the rollout of the chain that is not at its end.
func (o *ControlOptions) undoing(ctx context.Context, s *session, name string) (*proposal, *entry, error) {
	e, err := s.store.get(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	platform, _, err := s.cluster.Settings(ctx)
	if err != nil {
		return nil, nil, err
	}
	how, err := o.way(e.record, platform)
	if err != nil {
		return nil, nil, err
	}
	seen, err := gatherFor(ctx, o.Factory, s.cluster, e.record)
	if err != nil {
		return nil, nil, err
	}
	goal, warnings := fleet.UndoGoal(e.record, viewOf(seen, o.Now()))
	seen.warnings = append(seen.warnings, warnings...)
	selection := fleet.Selection{Chain: e.record.Chain}
	p, err := build(o.Factory, fleet.Input{Selection: selection, Goal: goal, Strategy: how, Settings: platform}, seen)
	if err != nil {
		return nil, nil, err
	}
	p.record.Action, p.record.Undoes = actionUndo, e.record.Name
	open, err := s.open(ctx, e.record.Chain)
	return p, open, err
}

// way is how an undo goes. What could be changed can be taken back.
func (o *ControlOptions) way(undone *fleet.Record, platform settings.Settings) (fleet.Strategy, error) {
	how, err := o.Strategy.Strategy(undone.Chain, platform)
	how.IncludeValidators = how.IncludeValidators || undone.Strategy.IncludeValidators
	how.ForceManaged = how.ForceManaged || undone.Strategy.ForceManaged
	return how, err
}

// undoGoesOn goes on with an undo that is not at its end.
func (o *ControlOptions) undoGoesOn(ctx context.Context, s *session, e *entry) error {
	platform, _, err := s.cluster.Settings(ctx)
	if err != nil {
		return err
	}
	seen, err := gatherFor(ctx, o.Factory, s.cluster, e.record)
	if err != nil {
		return err
	}
	how, err := o.way(e.record, platform)
	if err != nil {
		return err
	}
	if err := s.alive(ctx, e.record); err != nil {
		return err
	}
	return s.goOn(ctx, e, &proposal{settings: platform, observed: seen, asked: how}, answers{yes: o.Yes, dryRun: o.DryRun, skipPreflight: true, typed: o.Strategy.typed})
}
