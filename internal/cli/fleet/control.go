package fleet

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/ui"
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

	stream *stream
}

func control(f *factory.Factory, formats ...string) *ControlOptions {
	return &ControlOptions{Factory: f, Output: output.NewFormat(formats...)}
}

func (o *ControlOptions) command(use, short, long string, run func(context.Context, *ControlOptions) error,
	runF func(context.Context, *ControlOptions) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " [NAME | --chain CHAIN]", Short: short, Long: long,
		Example: "  seictl fleet " + use + " --chain pacific-1",
		Args:    atMostOneRollout,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Name = args[0]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			if o.DryRun {
				return run(cmd.Context(), o)
			}
			return streaming(o.Factory, &o.Output, Event{Rollout: o.Name, Chain: o.Chain}, func(s *stream) error {
				o.stream = s
				return run(cmd.Context(), o)
			})
		},
	}
	cmd.Flags().StringVar(&o.Chain, "chain", "", "the latest rollout of a chain")
	return cmd
}

func atMostOneRollout(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("one rollout at a time: found %d names", len(args))
	}
	return nil
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
	if err := s.alive(ctx, e.record); err != nil {
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
	if e.record.Driver == "" {
		s.orphans(ctx, p, e.record)
	}
	p.Line("  %s", countsText(e.record.Count()))
	if state == fleet.Paused {
		p.Line("next: %s", s.command("resume", e.record.Chain))
	} else {
		p.Line("next: %s, to go back", s.command("undo", e.record.Chain))
	}
	return nil
}

// orphans names the nodes of a rollout that are in a pod cycle while nobody drives it: their seid may be down until somebody
// sees them through.
func (s *session) orphans(ctx context.Context, p *ui.Printer, r *fleet.Record) {
	seen, err := gatherFor(ctx, s.Factory, s.cluster, r)
	if err != nil {
		p.Wrap(p.Warn("warning")+": ", "whether nodes are in a pod cycle is not known: "+err.Error())
		return
	}
	for _, k := range fleet.Cycling(r, viewOf(seen, s.Now())) {
		p.Wrap(p.Warn("warning")+": ", fmt.Sprintf("%s is in its pod cycle, and nobody drives the rollout: unless an operator runs, next: seictl node apply %s -n %s",
			k, k.Name, k.Namespace))
	}
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
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, flags: &o.Driving, output: &o.Output, stream: o.stream}
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
	seen, err := gatherFor(ctx, o.Factory, c, e.record)
	if err != nil {
		return err
	}
	return s.resume(ctx, e, &proposal{settings: platform, observed: seen}, fleet.State.Open)
}
