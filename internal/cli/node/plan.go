package node

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/pkg/drift"
)

// PlanOptions of `seictl node plan`.
type PlanOptions struct {
	*factory.Factory
	Selection Selection
	Edit      Edit
	Output    output.Format
	// DetailedExitCode ends with 2 when changes are pending and with 3 when all that is pending is paused.
	DetailedExitCode bool
	// Diff says how objects are compared.
	Diff diffMode
	// SaveTo is the file to save the plan to, and Show the saved plan to show instead of making one.
	SaveTo, Show string
}

const planExample = `  # What would turning TLS on do to one node?
  seictl node plan ax-0 -n fleet --tls --issuer arctic-1-ca

  # The same from a file, with no cluster: a status in the file is the observed state
  seictl node plan -f node.yaml

  # In full: what the API server would make of every object
  seictl node plan ax-0 -n fleet --tls --issuer arctic-1-ca --diff=full

  # Every node of a chain, for a program; exit code 2 when changes are pending
  seictl node plan --chain arctic-1 -A -o json --detailed-exitcode

  # Save a plan, look at it, and apply exactly that
  seictl node plan ax-0 -n fleet --image registry.example/seid:v2 --out ax-0.plan
  seictl node plan --show ax-0.plan
  seictl node apply ax-0.plan`

// NewCmdPlan returns `seictl node plan`.
func NewCmdPlan(f *factory.Factory, runF func(context.Context, *PlanOptions) error) *cobra.Command {
	o := &PlanOptions{Factory: f, Diff: diffShort, Output: output.NewFormat(output.JSON, output.YAML, output.Name)}
	cmd := &cobra.Command{
		Use:   "plan (NAME... | -f FILE | -l SELECTOR | --chain CHAIN | --show FILE)",
		Short: "Show drift, tasks and pod cycles of a change, without changing anything",
		Long: "Show what a change would do: the drift between what a node should run and what it was observed to run,\n" +
			"the tasks that remove it, why each is there, and how many pod cycles that takes. Nothing is changed.",
		Example: planExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Selection.Names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return planRun(cmd.Context(), o)
		},
	}
	o.Selection.AddFlags(cmd.Flags(), true)
	o.Edit.AddFlags(cmd.Flags())
	o.Output.AddFlag(cmd.Flags())
	o.Diff.AddFlag(cmd.Flags())
	cmd.Flags().BoolVar(&o.DetailedExitCode, "detailed-exitcode", false,
		"exit with 2 when changes are pending, 3 when they are paused, 0 when there are none")
	cmd.Flags().StringVar(&o.SaveTo, "out", "", "save the plan to this file, for seictl node apply FILE")
	cmd.Flags().StringVar(&o.Show, "show", "", "show this saved plan and what changed since; exit with 5 when it does not fit any more")
	return cmd
}

// planList is the document of `seictl node plan -o json`.
type planList struct {
	Items []preview.Item `json:"items"`
}

func planRun(ctx context.Context, o *PlanOptions) error {
	if o.Show != "" {
		return showRun(ctx, o)
	}
	if err := o.Selection.Validate(false); err != nil {
		return err
	}
	if err := o.Edit.Validate(); err != nil {
		return err
	}
	r := &resolver{f: o.Factory, selection: o.Selection, edit: o.Edit, offline: len(o.Selection.Files) > 0,
		command: "seictl node plan", diff: o.Diff}
	targets, err := r.resolve(ctx)
	if err != nil {
		return err
	}
	items, err := r.preview(ctx, targets)
	if err != nil {
		return err
	}
	if err := o.write(items); err != nil {
		return err
	}
	if o.SaveTo != "" {
		if err := r.savePlan(ctx, o.SaveTo, targets, items); err != nil {
			return err
		}
		p := o.Notices()
		p.Wrap("", fmt.Sprintf("saved to %s; next: seictl node apply %s", o.SaveTo, o.SaveTo))
	}
	if o.DetailedExitCode {
		return exit.Silent(pending(items))
	}
	return nil
}

func (o *PlanOptions) write(items []preview.Item) error {
	switch {
	case o.Output.Machine():
		return o.Output.Write(o.Out, planList{Items: items})
	case o.Output.String() == output.Name:
		for i := range items {
			if items[i].Due() {
				fmt.Fprintln(o.Out, output.NodeName(items[i].Node.Name))
			}
		}
		return nil
	}
	preview.Text(o.Printer(), items)
	return nil
}

// pending is the detailed exit code of previews.
func pending(items []preview.Item) int {
	code := exit.OK
	for i := range items {
		switch {
		case items[i].Due():
			return exit.Pending
		case items[i].Paused():
			code = exit.Paused
		}
	}
	return code
}

// preview previews targets, with what is in the cluster where a node is there.
func (r *resolver) preview(ctx context.Context, targets []target) ([]preview.Item, error) {
	items := make([]preview.Item, 0, len(targets))
	for i := range targets {
		item, err := r.previewOne(ctx, &targets[i])
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (r *resolver) previewOne(ctx context.Context, t *target) (preview.Item, error) {
	online := t.live != nil || t.asked
	s, err := r.Settings(ctx, online)
	if err != nil {
		return preview.Item{}, err
	}
	var snapshot *drift.Snapshot
	if t.live != nil {
		if snapshot, err = r.observeObjects(ctx, t, s); err != nil {
			return preview.Item{}, err
		}
	}
	warnings := append([]string{}, t.warnings...)
	if r.warning != "" && online {
		warnings = append(warnings, r.warning)
	}
	item := preview.Build(preview.Input{
		Node: t.node, Snapshot: snapshot, Settings: s, Now: r.f.Now(), Warnings: warnings,
	})
	if !online {
		return item, nil
	}
	return item, r.lookAhead(ctx, t, &item, snapshot, s)
}
