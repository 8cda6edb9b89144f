package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/preview"
)

// ApplyOptions of `seictl node apply`.
type ApplyOptions struct {
	*factory.Factory
	Selection Selection
	Edit      Edit
	Output    output.Format
	Driving   DriveFlags
	// Yes answers the question beforehand.
	Yes bool
	// SkipPreflight goes ahead although a check failed.
	SkipPreflight bool
	// Diff says how objects are compared.
	Diff diffMode
	// PlanFile is a saved plan to apply.
	PlanFile string
}

const applyExample = `  # Turn TLS on, and watch it happen
  seictl node apply ax-0 -n fleet --tls --issuer arctic-1-ca

  # Create or change a node from a file, in CI
  seictl node apply -f node.yaml --yes -o json

  # Go on with what was interrupted
  seictl node apply ax-0 -n fleet

  # Apply a plan that seictl node plan --out saved; exit code 5 when it does not fit any more
  seictl node apply ax-0.plan`

// NewCmdApply returns `seictl node apply`.
func NewCmdApply(f *factory.Factory, runF func(context.Context, *ApplyOptions) error) *cobra.Command {
	o := &ApplyOptions{Factory: f, Diff: diffShort, Output: output.NewFormat(output.JSON, output.YAML, output.Name)}
	cmd := &cobra.Command{
		Use:   "apply (NAME... | -f FILE | -l SELECTOR | --chain CHAIN | SAVED-PLAN)",
		Short: "Change nodes and see them through to the end",
		Long: "Edit the spec, show the plan, ask, and drive the plan to its end. What is interrupted is resumed by the same\n" +
			"command: the plan lives in the node's status. Where an operator runs, it drives and this command watches.",
		Example: applyExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Selection.Names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return applyRun(cmd.Context(), o)
		},
	}
	o.Selection.AddFlags(cmd.Flags(), true)
	o.Edit.AddFlags(cmd.Flags())
	o.Output.AddFlag(cmd.Flags())
	o.Driving.AddFlags(cmd.Flags())
	o.Diff.AddFlag(cmd.Flags())
	cmd.Flags().BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.SkipPreflight, "skip-preflight", false, "go ahead although a check of the preflight failed")
	cmd.Flags().StringVar(&o.PlanFile, "plan", "", "apply this saved plan; the same as naming the file")
	return cmd
}

func applyRun(ctx context.Context, o *ApplyOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Driving.Timeout)
	defer cancel()
	r := &resolver{f: o.Factory, selection: o.Selection, edit: o.Edit, command: "seictl node apply", diff: o.Diff, planFile: o.PlanFile}
	targets, err := r.resolve(ctx)
	if err != nil {
		return o.stalePlan(err)
	}
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	if err := onlyNodes(targets); err != nil {
		return err
	}
	items, err := r.preview(ctx, targets)
	if err != nil {
		return err
	}
	if err := r.sameAsSaved(items); err != nil {
		return o.stalePlan(err)
	}
	a := &application{session: session{Factory: o.Factory, cluster: c, flags: &o.Driving, output: &o.Output}, resolver: r, targets: targets, items: items}
	return a.run(ctx, o.Yes, o.SkipPreflight)
}

// validate checks the flags against each other, and whether what was named is a saved plan.
func (o *ApplyOptions) validate() error {
	if o.PlanFile == "" {
		var err error
		if o.PlanFile, err = planFile(o.Selection.Names); err != nil {
			return err
		}
		if o.PlanFile != "" {
			o.Selection.Names = nil
		}
	}
	s := &o.Selection
	switch {
	case o.PlanFile == "":
	case len(s.Names)+len(s.Files) > 0 || s.Selector != "" || s.Chain != "" || !o.Edit.Empty():
		return errors.New("a saved plan takes no other nodes and no edit: it names its own")
	default:
		return nil
	}
	if err := s.Validate(false); err != nil {
		return err
	}
	return o.Edit.Validate()
}

// onlyNodes refuses files of what apply does not write.
func onlyNodes(targets []target) error {
	for i := range targets {
		t := &targets[i]
		if t.object != nil && t.object.Deployment != nil {
			return fmt.Errorf("%s: SeiNodeDeployment %s: seictl node apply edits SeiNodes: apply it with kubectl, the operator rolls it out; "+
				"next: kubectl apply -f, and seictl node plan -f for a preview", t.object.Source, t.object.Deployment.Name)
		}
	}
	return nil
}

// application is one run of apply.
type application struct {
	session
	resolver *resolver
	targets  []target
	items    []preview.Item
	// stale says of each target whether its edit makes the status one of an earlier spec.
	stale []bool
}

func (a *application) run(ctx context.Context, yes, skipPreflight bool) error {
	edits, pass := a.edits(), a.anyPass()
	notices := a.Notices()
	if a.output.String() == output.Table {
		preview.Text(notices, a.items)
		notices.Line("")
	}
	if len(edits) == 0 && !pass {
		return a.finish(a.idle(), nil)
	}
	if err := a.refuse(skipPreflight); err != nil {
		return err
	}
	for i := range a.items {
		if by := a.items[i].Foreign; by != "" {
			return fmt.Errorf("SeiNode %s is written by another controller, %s, as well: stop it before seictl drives the node; nothing was changed",
				client.ObjectKeyFromObject(a.targets[i].node), by)
		}
	}
	// What the API server refuses shows before anybody is asked.
	for _, t := range edits {
		if _, err := t.write(ctx, a.cluster, true); err != nil {
			return err
		}
	}
	if !yes {
		if err := a.Confirm("Apply?"); err != nil {
			return err
		}
	}
	d, err := a.driver(ctx, a.resolver)
	if err != nil {
		return err
	}
	if pass {
		if err := a.acquire(ctx, d); err != nil {
			return err
		}
		defer a.release(ctx, d)
	}
	began := a.Now()
	for i, t := range edits {
		stored, err := t.write(ctx, a.cluster, false)
		if err != nil {
			return a.partly(err, edits[:i])
		}
		d.Progress.Say("%s  spec edited", client.ObjectKeyFromObject(stored))
		t.live, t.node = stored, stored
	}
	if !pass {
		return a.finish(a.idle(), nil)
	}
	results, err := d.Run(ctx, a.goals(began))
	return a.finish(append(results, a.idle()...), err)
}

// partly says which specs were edited before one could not be: they wait for a driver.
func (a *application) partly(err error, written []*target) error {
	if len(written) == 0 {
		return err
	}
	names, commands := make([]string, len(written)), make([]string, len(written))
	for i, t := range written {
		names[i] = client.ObjectKeyFromObject(t.node).String()
		commands[i] = fmt.Sprintf("seictl node apply %s -n %s%s", t.node.Name, t.node.Namespace, a.contextFlags())
	}
	return fmt.Errorf("%w; the specs of %s were edited before that and wait for a driver; next for these: %s",
		err, strings.Join(names, ", "), strings.Join(commands, " && "))
}

func (a *application) edits() []*target {
	var out []*target
	for i := range a.targets {
		if t := &a.targets[i]; t.changed() {
			out = append(out, t)
		}
	}
	return out
}

// needsPass says whether the engine has to look at a node: something is due or blocked, or its status is of an earlier
// spec. A node that runs what it should, and says so, is left alone.
func (a *application) needsPass(i int) bool {
	item, t := &a.items[i], &a.targets[i]
	if item.Due() || item.Blocked() || item.Asleep {
		return true
	}
	return a.stale[i] || t.live == nil || t.live.Status.ObservedGeneration < t.live.Generation
}

func (a *application) anyPass() bool {
	a.stale = make([]bool, len(a.targets))
	any := false
	for i := range a.targets {
		t := &a.targets[i]
		a.stale[i] = t.live != nil && !equality.Semantic.DeepEqual(t.live.Spec, t.node.Spec)
		any = a.needsPass(i) || any
	}
	return any
}

// goals are the nodes that the engine has to look at.
func (a *application) goals(began time.Time) []drive.Goal {
	var out []drive.Goal
	for i := range a.targets {
		if n := a.targets[i].node; a.needsPass(i) {
			out = append(out, drive.Goal{Key: client.ObjectKeyFromObject(n), Generation: n.Generation, Since: began})
		}
	}
	return out
}

// idle are the results of the other nodes.
func (a *application) idle() []drive.Result {
	var out []drive.Result
	for i := range a.targets {
		item := &a.items[i]
		if a.needsPass(i) {
			continue
		}
		r := drive.Result{Key: client.ObjectKeyFromObject(a.targets[i].node), Node: a.targets[i].node,
			Verdict: drive.Verdict{State: drive.Done, Detail: "nothing to do"}}
		switch {
		case item.Paused():
			r.Verdict = drive.Verdict{State: drive.Paused, Detail: item.Decision.Detail}
		case item.Held(), item.Blocked():
			r.Verdict = drive.Verdict{State: drive.Failed, Detail: lastWarning(item)}
		}
		out = append(out, r)
	}
	return out
}

func lastWarning(item *preview.Item) string {
	if n := len(item.Warnings); n > 0 {
		return item.Warnings[n-1]
	}
	return item.Decision.Detail
}
