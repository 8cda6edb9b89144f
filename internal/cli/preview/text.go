package preview

import (
	"fmt"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/plan"
)

// Text writes previews for people.
func Text(p *ui.Printer, items []Item) {
	for i := range items {
		if i > 0 {
			p.Line("")
		}
		items[i].text(p)
	}
	if len(items) > 1 {
		p.Line("")
		p.Line("%s", Total(items))
	}
}

// Total sums up previews in one line.
func Total(items []Item) string {
	due, cycles, paused := 0, 0, 0
	for i := range items {
		if items[i].Due() {
			due++
		}
		if items[i].Paused() {
			paused++
		}
		cycles += items[i].PodCycles
	}
	s := fmt.Sprintf("%s: %d to change, %s", count(len(items), "node"), due, count(cycles, "pod cycle"))
	if paused > 0 {
		s += fmt.Sprintf(", %d paused", paused)
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (item *Item) text(p *ui.Printer) {
	n := item.Node
	p.Line("%s  %s  %s", p.Bold(n.Namespace+"/"+n.Name), n.ChainID, n.Mode)
	if len(item.Drift) == 0 {
		p.Line("  no drift")
	} else {
		rows := make([][]string, len(item.Drift))
		for i, d := range item.Drift {
			rows[i] = []string{d.Subject, orOff(d, d.From), orOff(d, d.To)}
		}
		p.Table("  ", []string{"DRIFT", "FROM", "TO"}, rows)
		for _, d := range item.Drift {
			p.Wrap("  "+d.Subject+": ", d.Why)
		}
	}
	item.planText(p)
	objectsText(p, item.Objects)
	PreflightText(p, "  ", item.Preflight)
	for _, w := range item.Warnings {
		p.Wrap("  "+p.Warn("warning")+": ", w)
	}
}

// orOff is a value as people read it.
func orOff(d Drift, v string) string {
	switch {
	case v != "":
		return v
	case d.Subject == "sidecarTLS":
		return "off"
	}
	return "-"
}

func (item *Item) planText(p *ui.Printer) {
	full := item.Decision.Plan
	if full == nil {
		p.Line("  no plan: %s", item.idleText())
		return
	}
	p.Line("  %s", p.Bold(plan.Headline(full)))
	active := !item.Decision.New
	rows := make([][]string, len(full.Tasks))
	for i := range full.Tasks {
		t := &full.Tasks[i]
		row := []string{fmt.Sprintf("%2d. %s", i+1, t.Type)}
		if active {
			row = append(row, statusText(t))
		}
		rows[i] = append(row, t.Why)
	}
	p.Table("  ", nil, rows)
}

func statusText(t *v1alpha1.Task) string {
	if t.Status == v1alpha1.TaskPending {
		return ""
	}
	return string(t.Status)
}

func (item *Item) idleText() string {
	switch item.Decision.Idle {
	case plan.IdlePaused:
		return "the node is paused"
	case plan.IdleHeld:
		return "the node is held"
	case plan.IdleBlocked:
		return "a gate does not hold"
	case plan.IdleTerminating:
		return "the node is being deleted"
	}
	return "nothing to do"
}
