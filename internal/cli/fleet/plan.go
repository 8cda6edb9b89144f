package fleet

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/fleet"
)

// PlanOptions of `seictl fleet plan`.
type PlanOptions struct {
	*factory.Factory
	Selection SelectionFlags
	Target    TargetFlags
	Strategy  StrategyFlags
	Output    output.Format
	// DetailedExitCode ends with 2 when changes are pending.
	DetailedExitCode bool
}

const planExample = `  # What would turning TLS on mean for a chain? The issuer is the chain's, of the settings
  seictl fleet plan --chain pacific-1

  # Only the archive nodes, three at a time after two canaries
  seictl fleet plan --chain pacific-1 --mode archive --canary 2 --max-unavailable 3`

// NewCmdPlan returns `seictl fleet plan`.
func NewCmdPlan(f *factory.Factory, runF func(context.Context, *PlanOptions) error) *cobra.Command {
	o := &PlanOptions{Factory: f, Output: output.NewFormat(output.JSON, output.YAML)}
	cmd := &cobra.Command{
		Use:   "plan --chain CHAIN",
		Short: "Show what a rollout would change, in which order and how long it takes; change nothing",
		Long: "Show which nodes a rollout would change, through which object, in which waves, what is in the way, how many pods\n" +
			"restart, and how long it takes by the fleet's own history. Nothing is changed.",
		Example: planExample,
		Args:    factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return planRun(cmd.Context(), o)
		},
	}
	o.Selection.AddFlags(cmd.Flags())
	o.Target.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&o.Target.NoTLS, "no-tls", false, "turn TLS off; consents to the removal of running TLS")
	o.Strategy.AddFlags(cmd.Flags())
	o.Output.AddFlag(cmd.Flags())
	cmd.Flags().BoolVar(&o.DetailedExitCode, "detailed-exitcode", false, "exit with 2 when changes are pending, 0 when there are none")
	return cmd
}

// planDocument is the document of `seictl fleet plan -o json`.
type planDocument struct {
	*fleet.Plan
	Preflight []preflight.Line `json:"preflight"`
}

func planRun(ctx context.Context, o *PlanOptions) error {
	if err := o.Target.Validate(); err != nil {
		return err
	}
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	p, err := propose(ctx, o.Factory, c, &o.Selection, &o.Target, &o.Strategy)
	if err != nil {
		return err
	}
	if err := p.check(ctx, o.Factory, c, false); err != nil {
		return err
	}
	if o.Output.Machine() {
		if err := o.Output.Write(o.Out, planDocument{Plan: p.plan, Preflight: p.preflight}); err != nil {
			return err
		}
	} else {
		planText(o.Printer(), p.plan, p.preflight)
	}
	if o.DetailedExitCode && p.plan.Working() > 0 {
		return exit.Silent(exit.Pending)
	}
	return nil
}

// fits refuses what no record can hold before anybody is asked.
func (p *proposal) fits() error {
	if err := p.record.Fits(); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	return nil
}
