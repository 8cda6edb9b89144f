package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/savedplan"
	"sei.io/seictl/internal/cli/ui"
)

// showList is the document of `seictl node plan --show FILE -o json`, and of an apply of a stale plan.
type showList struct {
	Items []preview.Item `json:"items"`
	// Saved says when the plan was saved, and whether a cluster was asked if it still fits.
	Saved savedDocument `json:"saved"`
	// Stale has what changed since; empty when the plan fits.
	Stale []savedplan.Change `json:"stale"`
}

type savedDocument struct {
	CreatedAt time.Time `json:"createdAt"`
	Checked   bool      `json:"checked"`
}

// validateShow checks that a saved plan is all that is asked for.
func (o *PlanOptions) validateShow() error {
	s := &o.Selection
	if len(s.Names)+len(s.Files) > 0 || s.Selector != "" || s.Chain != "" || !o.Edit.Empty() || o.SaveTo != "" {
		return errors.New("--show takes no nodes, no edit and no --out: the file names its nodes and its edit")
	}
	return nil
}

// showRun shows a saved plan and, where a cluster answers, whether it still fits.
func showRun(ctx context.Context, o *PlanOptions) error {
	if err := o.validateShow(); err != nil {
		return err
	}
	f, err := readPlan(o.Show)
	if err != nil {
		return err
	}
	r := &resolver{f: o.Factory, planFile: o.Show}
	_, err = r.resolveSaved(ctx)
	var stale *staleError
	checked := true
	switch {
	case err == nil, errors.As(err, &stale):
	case factory.Unreachable(err):
		checked = false
		p := o.Notices()
		p.Wrap(p.Warn("warning")+": ", fmt.Sprintf("no cluster answers, so whether the plan still fits is not known (%s)", short(err)))
	default:
		return err
	}
	if o.Output.String() == output.Name {
		for i := range f.Nodes {
			fmt.Fprintln(o.Out, output.NodeName(f.Nodes[i].Name))
		}
	} else if err := writeSaved(o.Factory, o.Printer(), &o.Output, f, stale, checked); err != nil {
		return err
	}
	return staleExit(stale)
}

// staleExit is the exit code of a stale plan, with the whole story on standard error.
func staleExit(stale *staleError) error {
	if stale == nil {
		return nil
	}
	return exit.With(exit.Stale, stale)
}

// writeSaved writes a saved plan, and what changed since.
func writeSaved(f *factory.Factory, p *ui.Printer, format *output.Format, file *savedplan.File, stale *staleError, checked bool) error {
	items := make([]preview.Item, len(file.Nodes))
	for i := range file.Nodes {
		items[i] = file.Nodes[i].Preview
		items[i].Restore(file.Nodes[i].Idle)
	}
	changes := []savedplan.Change{}
	if stale != nil {
		changes = stale.changes
	}
	if format.Machine() {
		return format.Write(f.Out, showList{Items: items, Saved: savedDocument{CreatedAt: file.CreatedAt, Checked: checked}, Stale: changes})
	}
	p.Line("saved at %s", file.CreatedAt.UTC().Format(time.RFC3339))
	p.Line("")
	preview.Text(p, items)
	if len(changes) == 0 {
		return nil
	}
	p.Line("")
	p.Line("%s", p.Warn("changed since"))
	rows := make([][]string, len(changes))
	for i, c := range changes {
		by := c.Manager
		if c.At != nil {
			by += " at " + c.At.UTC().Format(time.RFC3339)
		}
		rows[i] = []string{orDash(c.Node), c.Field, orDash(c.From), orDash(c.To), orDash(by)}
	}
	p.Table("  ", []string{"NODE", "FIELD", "FROM", "TO", "BY"}, rows)
	return nil
}

// stalePlan shows a plan that does not fit any more: on standard error, as an apply shows its plan, or as its document.
func (o *ApplyOptions) stalePlan(err error) error {
	var stale *staleError
	if !errors.As(err, &stale) {
		return err
	}
	if o.Output.String() != output.Name {
		if err := writeSaved(o.Factory, o.Notices(), &o.Output, stale.file, stale, true); err != nil {
			return err
		}
	}
	return staleExit(stale)
}
