package fleet

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/fleet"
)

// Actions of rollouts.
const (
	actionEnable  = "enable-tls"
	actionDisable = "disable-tls"
	actionUndo    = "undo"
)

// DriveFlags say how a rollout is driven.
type DriveFlags struct {
	// Timeout of the whole command; zero is none.
	Timeout time.Duration
	// LockTimeout is how long to wait for another driver.
	LockTimeout time.Duration
	// Drive drives although an operator is installed.
	Drive bool
}

// AddFlags adds the flags.
func (d *DriveFlags) AddFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&d.Timeout, "timeout", 0, "stop driving after this long, such as 2h; the rollout can be resumed; 0 means never")
	fs.DurationVar(&d.LockTimeout, "lock-timeout", 0, "wait this long for another driver to finish")
	fs.BoolVar(&d.Drive, "drive", false, "drive although an operator is installed; never beside one that runs")
}

// ToggleOptions of `seictl fleet enable-tls` and `disable-tls`.
type ToggleOptions struct {
	*factory.Factory
	Action    string
	Selection SelectionFlags
	Target    TargetFlags
	Strategy  StrategyFlags
	Driving   DriveFlags
	Output    output.Format
	// Yes answers the question beforehand, DryRun changes nothing, and SkipPreflight lets the canary find out.
	Yes, DryRun, SkipPreflight bool
}

const enableExample = `  # Everything from the settings of the chain: issuer, modes, how many at once
  seictl fleet enable-tls --chain pacific-1

  # Two canaries for half an hour, then a tenth of the chain at a time
  seictl fleet enable-tls --chain pacific-1 --issuer pacific-1-ca --canary 2 --bake 30m --max-unavailable 10%`

// NewCmdEnableTLS returns `seictl fleet enable-tls`.
func NewCmdEnableTLS(f *factory.Factory, runF func(context.Context, *ToggleOptions) error) *cobra.Command {
	o := &ToggleOptions{Factory: f, Action: actionEnable, Output: output.NewFormat(output.JSON)}
	cmd := o.command(runF)
	cmd.Use, cmd.Short = "enable-tls --chain CHAIN", "Turn TLS on for the nodes of a chain, in waves"
	cmd.Long = "Turn TLS on for the nodes of a chain, or change where its certificates come from: a canary first, then wave by wave,\n" +
		"each node behind a health gate. The same command goes on with a rollout that was interrupted or failed."
	cmd.Example = enableExample
	o.Target.AddFlags(cmd.Flags())
	return cmd
}

// NewCmdDisableTLS returns `seictl fleet disable-tls`.
func NewCmdDisableTLS(f *factory.Factory, runF func(context.Context, *ToggleOptions) error) *cobra.Command {
	o := &ToggleOptions{Factory: f, Action: actionDisable, Output: output.NewFormat(output.JSON)}
	o.Target.NoTLS = true
	cmd := o.command(runF)
	cmd.Use, cmd.Short = "disable-tls --chain CHAIN", "Turn TLS off for the nodes of a chain, in waves"
	cmd.Long = "Turn TLS off for the nodes of a chain, with the consent that the removal of running TLS takes. To go back to what each\n" +
		"node had before a rollout, use seictl fleet undo instead."
	cmd.Example = "  seictl fleet disable-tls --chain arctic-1 --mode archive"
	return cmd
}

func (o *ToggleOptions) command(runF func(context.Context, *ToggleOptions) error) *cobra.Command {
	cmd := &cobra.Command{
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			if err := o.Target.Validate(); err != nil {
				return err
			}
			if o.DryRun {
				return toggleRun(cmd.Context(), o, nil)
			}
			return streaming(o.Factory, &o.Output, Event{Chain: o.Selection.Chain, Action: o.Action}, func(s *stream) error {
				return toggleRun(cmd.Context(), o, s)
			})
		},
	}
	fs := cmd.Flags()
	o.Selection.AddFlags(fs)
	o.Strategy.AddFlags(fs)
	o.Driving.AddFlags(fs)
	o.Output.AddFlag(fs)
	fs.BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	fs.BoolVar(&o.DryRun, "dry-run", false, "show what would be done and stop")
	fs.BoolVar(&o.SkipPreflight, "skip-preflight", false, "start although a check of issuers or namespaces fails: the canary finds out")
	return cmd
}

func toggleRun(ctx context.Context, o *ToggleOptions, events *stream) error {
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Driving.Timeout)
	defer cancel()
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, flags: &o.Driving, output: &o.Output, stream: events}
	p, open, err := o.prepare(ctx, s)
	if err != nil {
		return err
	}
	given := answers{yes: o.Yes, dryRun: o.DryRun, skipPreflight: o.SkipPreflight, typed: o.Strategy.typed}
	switch {
	case o.DryRun || open == nil:
	case same(open.record, p):
		return s.goOn(ctx, open, p, given)
	case open.record.Driver != "":
		return exit.Errorf(exit.LockHeld, "rollout %s of chain %s (%s) is under way, driven by %s; nothing was changed; next: seictl fleet status --chain %s -w",
			open.record.Name, open.record.Chain, open.record.Action, open.record.Driver, open.record.Chain)
	case open.record.State != fleet.Failed && p.plan.Working() > 0:
		return fmt.Errorf("rollout %s of chain %s (%s) is %s: nothing was changed; next: seictl fleet resume --chain %s, or seictl fleet abort --chain %s",
			open.record.Name, open.record.Chain, open.record.Action, stateText(open.record), open.record.Chain, open.record.Chain)
	case open.record.State == fleet.Failed:
		s.replaces = open
	}
	return s.propose(ctx, p, given, func(ctx context.Context) (*proposal, *entry, error) { return o.prepare(ctx, s) })
}

// prepare plans, and finds the rollout of the chain that is not at its end.
func (o *ToggleOptions) prepare(ctx context.Context, s *session) (*proposal, *entry, error) {
	p, err := propose(ctx, o.Factory, s.cluster, &o.Selection, &o.Target, &o.Strategy)
	if err != nil {
		return nil, nil, err
	}
	p.record.Action = o.Action
	if p.observed.only != "" && p.record.Selection.Namespace == "" && !o.DryRun {
		return nil, nil, fmt.Errorf("chain %s: not allowed to list SeiNodes in all namespaces, and so it is not known which nodes it has; "+
			"next: -n %s for those of one namespace, or ask for the ClusterRole seictl-driver-cluster", p.record.Chain, p.observed.only)
	}
	if o.DryRun {
		return p, nil, nil // whoever only looks need not see the records
	}
	open, err := s.open(ctx, p.record.Chain)
	if err != nil {
		return nil, nil, err
	}
	p.record.Inherit(s.older)
	return p, open, nil
}

// same says whether a rollout is what a command asks for: then the command goes on with it.
func same(open *fleet.Record, asked *proposal) bool {
	return open.Action == asked.record.Action && open.Selection.String() == asked.record.Selection.String() && len(open.Objects) > 0 &&
		open.Objects[0].Target.String() == asked.plan.Target
}

// propose shows a rollout, asks, and carries it out. again plans anew: under the locks things may be other than before.
func (s *session) propose(ctx context.Context, p *proposal, a answers, again func(context.Context) (*proposal, *entry, error)) error {
	if err := p.check(ctx, s.Factory, s.cluster, s.flags.Drive); err != nil {
		return err
	}
	if s.output.Machine() && a.dryRun {
		return s.output.Write(s.Out, planDocument{Plan: p.plan, Preflight: p.preflight})
	}
	if !s.output.Machine() {
		printer := s.Notices()
		if a.dryRun {
			printer = s.Printer()
		}
		planText(printer, p.plan, p.preflight)
	}
	if a.dryRun {
		return nil
	}
	if p.plan.Working() == 0 && !s.ends(p) {
		return s.nothing(p)
	}
	if err := p.fits(); err != nil {
		return err
	}
	if err := p.refusal(); err != nil && !a.skipPreflight {
		return err
	}
	if !a.yes && p.plan.Working() > 0 {
		if err := s.Confirm(fmt.Sprintf("Change %s?", count(p.plan.Working(), "node"))); err != nil {
			return err
		}
	}
	return s.start(ctx, p, a, again)
}

// ends says whether a proposal ends a rollout although it changes nothing: an undo does, and takes the lock for that.
func (s *session) ends(p *proposal) bool { return p.record.Action == actionUndo && s.replaces != nil }

// start carries a rollout out that was agreed to, under the locks.
func (s *session) start(ctx context.Context, p *proposal, a answers, again func(context.Context) (*proposal, *entry, error)) error {
	r := s.runner(p)
	defer r.report.close()
	l, err := r.take(ctx, p.record.Chain)
	if err != nil {
		return err
	}
	p, err = s.still(ctx, p, a, again)
	if err == nil && p.plan.Working() == 0 && s.ends(p) {
		err = s.replace(ctx, actionUndo)
	}
	if err != nil || p.plan.Working() == 0 {
		l.release(ctx, r)
		if err == nil {
			err = s.nothing(p)
		}
		return err
	}
	r.forget()
	r.know(p.observed)
	p.record.Who, p.record.Command, p.record.StartedAt = s.who(ctx), commandLine(os.Args[1:]), s.Now().UTC()
	if r.entry, err = s.store.create(ctx, p.record); err != nil {
		l.release(ctx, r)
		return err
	}
	if err := s.replace(ctx, p.record.Name); err != nil {
		r.report.warn(err.Error())
	}
	r.report.start(p.record, "rollout")
	return s.finish(r, r.run(ctx, l))
}

// still plans anew under the locks. What somebody agreed to must still be what is done; who agreed beforehand agreed to what is
// found.
func (s *session) still(ctx context.Context, agreed *proposal, a answers, again func(context.Context) (*proposal, *entry, error)) (*proposal, error) {
	p, open, err := again(ctx)
	switch {
	case err != nil:
		return nil, err
	case open != nil && (s.replaces == nil || s.replaces.record.Name != open.record.Name):
		return nil, exit.Errorf(exit.Stale, "rollout %s of chain %s (%s, %s) was started meanwhile; nothing was changed; next: %s",
			open.record.Name, open.record.Chain, open.record.Action, stateText(open.record), s.command("status", open.record.Chain))
	case !a.yes && p.record.Digest != agreed.record.Digest:
		return nil, exit.Errorf(exit.Stale, "chain %s is not as it was shown any more; nothing was changed; next: the same command again", p.record.Chain)
	}
	s.replaces = open
	return p, nil
}
