package plan

import (
	"fmt"
	"strings"

	"sei.io/seictl/api/v1alpha1"
)

// Describe renders a plan as plain lines: a headline, then a table with one task a line.
func Describe(p *v1alpha1.Plan) []string {
	if p == nil {
		return []string{"no plan: nothing to do"}
	}
	lines := []string{Headline(p)}
	rows := make([][3]string, 0, len(p.Tasks))
	var width [2]int
	for i := range p.Tasks {
		t := &p.Tasks[i]
		row := [3]string{fmt.Sprintf("%d. %s", i+1, t.Type), string(t.Status), t.Why}
		for c := range width {
			width[c] = max(width[c], len(row[c]))
		}
		rows = append(rows, row)
	}
	for _, r := range rows {
		lines = append(lines, fmt.Sprintf("  %-*s  %-*s  %s", width[0], r[0], width[1], r[1], r[2]))
	}
	return lines
}

// Headline is a plan in one line.
func Headline(p *v1alpha1.Plan) string {
	var causes []string
	for _, c := range p.Causes {
		causes = append(causes, string(c))
	}
	s := string(p.Kind)
	if len(causes) > 0 {
		s += " (" + strings.Join(causes, ", ") + ")"
	}
	cycles := "no pod cycle"
	if n := PodCycles(p); n == 1 {
		cycles = "one pod cycle"
	}
	tasks := "tasks"
	if len(p.Tasks) == 1 {
		tasks = "task"
	}
	return fmt.Sprintf("%s: %d %s, %s", s, len(p.Tasks), tasks, cycles)
}

// TLSText is a TLS configuration as people read it: "off" for none.
func TLSText(t *v1alpha1.SidecarTLSConfig) string { return orElse(t.String(), "off") }
