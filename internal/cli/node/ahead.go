package node

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/dryrun"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/settings"
)

// diffMode is the value of --diff.
type diffMode string

// Modes of --diff.
const (
	diffShort diffMode = "short"
	diffFull  diffMode = "full"
)

// AddFlag adds --diff.
func (d *diffMode) AddFlag(fs *pflag.FlagSet) {
	fs.Var(d, "diff", "how objects are compared: short, or full for a unified diff of YAML")
}

// String is the mode.
func (d *diffMode) String() string { return string(*d) }

// Type names the value in help texts.
func (d *diffMode) Type() string { return "MODE" }

// Set checks and sets the mode.
func (d *diffMode) Set(s string) error {
	switch m := diffMode(s); m {
	case diffShort, diffFull:
		*d = m
		return nil
	}
	return fmt.Errorf("found %q, wanted short or full", s)
}

// lookAhead asks the cluster what the plan would write, and whether it could run.
func (r *resolver) lookAhead(ctx context.Context, t *target, item *preview.Item, snapshot *drift.Snapshot, s settings.Settings) error {
	if !item.Due() && !item.Paused() && !item.Blocked() && (t.live == nil || !t.changed()) {
		return nil
	}
	c, err := r.f.Cluster()
	if err != nil {
		return err
	}
	item.Objects, err = dryrun.Objects(ctx, dryrun.Input{
		Node: t.node, Plan: item.Decision.Plan, Snapshot: snapshot, Settings: s, Client: c.Client, Full: r.diff == diffFull,
	})
	if err != nil {
		return c.Explain(err, "preview", "the objects of SeiNode "+t.node.Name, t.node.Namespace, "")
	}
	item.CountPodCycles()
	if r.facts == nil {
		r.facts = &preflight.Collector{Client: c.Client, Kube: c.Kube, Now: r.f.Now}
	}
	in := preflight.NodeInput{
		Node: t.node, Live: t.live, Plan: item.Decision.Plan, Target: item.Report.Target, Edited: t.changed(), Foreign: item.Foreign,
		PortForward: !inCluster(), Command: r.hintCommand(t),
	}
	for i := range item.Objects {
		if o := &item.Objects[i]; o.Err != nil {
			in.Refused = append(in.Refused, preflight.Refusal{Kind: o.Kind, Name: o.Name, Err: o.Err})
		}
	}
	item.Preflight = preflight.CheckNode(r.facts.Node(ctx, in))
	return nil
}

// hintCommand is the command that runs, for one node and without its TLS flags.
func (r *resolver) hintCommand(t *target) string {
	command := r.command
	if t.object != nil {
		for _, f := range r.selection.Files {
			command += " -f " + f
		}
	} else {
		command += fmt.Sprintf(" %s -n %s", t.node.Name, t.node.Namespace)
	}
	if r.edit.Image != "" {
		command += " --image " + r.edit.Image
	}
	return command
}

// refuse says no where a check failed of a node whose plan is not under way yet. What is under way goes on: refusing to
// release a pod helps nobody.
func (a *application) refuse(skip bool) error {
	var lines []preflight.Line
	for i := range a.items {
		if a.mayRefuse(i) {
			lines = append(lines, a.items[i].Preflight...)
		}
	}
	if !preflight.AnyFailed(lines) {
		if skip {
			a.warn("--skip-preflight: no check failed, it was not needed")
		}
		return nil
	}
	p := a.Notices()
	if a.output.Machine() || skip {
		for i := range lines {
			if lines[i].Result == preflight.Failed {
				preview.LineText(p, "", &lines[i])
			}
		}
	}
	n := preflight.Count(lines, preflight.Failed)
	if skip {
		a.warn(fmt.Sprintf("PREFLIGHT SKIPPED: %s, and --skip-preflight goes ahead all the same", checks(n)))
		return nil
	}
	first := preflight.First(lines, preflight.Failed)
	text := fmt.Sprintf("preflight: %s: %s: %s; nothing was changed", checks(n), first.Check, first.Message)
	if first.Hint != "" {
		text += "; next: " + first.Hint
	}
	return exit.With(exit.Failure, fmt.Errorf("%s", text))
}

func checks(n int) string {
	if n == 1 {
		return "1 check failed"
	}
	return fmt.Sprintf("%d checks failed", n)
}

// mayRefuse says whether a node may be refused: an edit is pending, or a plan is due that has not begun.
func (a *application) mayRefuse(i int) bool {
	if a.targets[i].changed() {
		return true
	}
	d := &a.items[i].Decision
	return d.Plan != nil && d.New && d.Plan.Kind != v1alpha1.MarkReady && d.Plan.Kind != v1alpha1.NodeRollback
}
