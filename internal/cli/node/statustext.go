package node

import (
	"fmt"
	"strings"
	"time"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/ui"
)

// statusTable writes one line a node.
func statusTable(p *ui.Printer, documents []Document, namespaces bool) {
	header := []string{"NAME", "CHAIN", "MODE", "PHASE", "READY", "TLS", "STATE"}
	rows := make([][]string, len(documents))
	for i := range documents {
		d := &documents[i]
		tls := "off"
		if d.TLS != nil {
			tls = d.TLS.Source
		}
		rows[i] = []string{d.Node.Name, d.Node.ChainID, d.Node.Mode, orNone(d.Phase), d.condition(v1alpha1.ConditionReady), tls, d.stateText()}
		if namespaces {
			rows[i] = append([]string{d.Node.Namespace}, rows[i]...)
		}
	}
	if namespaces {
		header = append([]string{"NAMESPACE"}, header...)
	}
	p.Table("", header, rows)
}

func (d *Document) condition(conditionType string) string {
	for _, c := range d.Conditions {
		switch {
		case c.Type != conditionType:
		case c.Status == "True":
			return c.Status
		default:
			return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}
	}
	return "-"
}

// stateText is the state and, of a plan under way, how far it is.
func (d *Document) stateText() string {
	if d.Plan == nil || d.Plan.Phase != string(v1alpha1.PlanActive) {
		return d.State
	}
	done := 0
	for _, t := range d.Plan.Tasks {
		if t.Status == string(v1alpha1.TaskComplete) || t.Status == string(v1alpha1.TaskSkipped) {
			done++
		}
	}
	return fmt.Sprintf("%s %d/%d", d.Plan.Kind, done, len(d.Plan.Tasks))
}

// text writes a node in full.
func (d *Document) text(p *ui.Printer) {
	p.Line("%s  %s  %s", p.Bold(d.Node.Namespace+"/"+d.Node.Name), d.Node.ChainID, d.Node.Mode)
	rows := [][]string{
		{"state", strings.TrimSuffix(d.State+": "+d.Detail, ": ")},
		{"phase", orNone(d.Phase)},
		{"image", orNone(d.Image)},
		{"TLS", d.TLS.text()},
	}
	for _, c := range d.Conditions {
		rows = append(rows, []string{c.Type, fmt.Sprintf("%s (%s): %s", c.Status, c.Reason, c.Message)})
	}
	if l := d.LastPlan; l != nil {
		rows = append(rows, []string{"last plan", l.text()})
	}
	if h := d.Hold; h != nil {
		rows = append(rows, []string{"held", fmt.Sprintf("since %s: %s; next: change the spec, or seictl node retry %s -n %s",
			h.Since.Format(time.RFC3339), h.Reason, d.Node.Name, d.Node.Namespace)})
	}
	for _, f := range d.Drift {
		from, to := f.From, f.To
		rows = append(rows, []string{"drift", fmt.Sprintf("%s: %s → %s (%s)", f.Subject, orDash(from), orDash(to), f.Why)})
	}
	p.Table("  ", nil, rows)
	if d.Plan != nil {
		d.Plan.text(p)
	}
	for _, w := range d.Warnings {
		p.Wrap("  "+p.Warn("warning")+": ", w)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (l *LastPlanDocument) text() string {
	text := fmt.Sprintf("%s %s at %s after %s", l.Kind, l.Outcome, l.FinishedAt.Format(time.RFC3339), round(l.DurationSeconds))
	if l.PodCycleSeconds != nil && l.Kind != string(v1alpha1.NodeInit) { // at birth there was none to be away
		text += ", pod away for " + round(*l.PodCycleSeconds)
	}
	if l.Detail != "" {
		text += ": " + l.Detail
	}
	return text
}

func (d *PlanDocument) text(p *ui.Printer) {
	p.Line("  %s %s", p.Bold(d.Kind), d.Phase)
	rows := make([][]string, len(d.Tasks))
	for i, t := range d.Tasks {
		text := t.Message
		if text == "" {
			text = t.Why
		}
		rows[i] = []string{fmt.Sprintf("%2d. %s", i+1, t.Type), t.Status, text}
	}
	p.Table("  ", nil, rows)
}
