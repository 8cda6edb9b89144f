package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/fleet"
)

// planText writes a plan for people.
func planText(p *ui.Printer, plan *fleet.Plan, checks []preflight.Line) {
	target := "TLS from " + plan.Target
	switch plan.Target {
	case "":
		target = "TLS off"
	case "previous":
		target = "back to the TLS of before"
	}
	p.Line("%s  %s", p.Bold(plan.Chain), target)
	objectsText(p, plan)
	leftText(p, plan)
	managedText(p, plan)
	preflightText(p, checks)
	wavesText(p, plan)
	for _, w := range plan.Warnings {
		p.Wrap("  "+p.Warn("warning")+": ", w)
	}
	for _, w := range nodeWarnings(plan) {
		p.Wrap("  "+p.Warn("warning")+": ", w)
	}
	p.Line("%s", totalText(plan))
}

// objectsText has one line per object that has nodes of the selection, unchanged standalone nodes in one.
func objectsText(p *ui.Printer, plan *fleet.Plan) {
	rows := [][]string{}
	unchanged := 0
	for _, o := range plan.Objects {
		if o.Kind == fleet.KindNode && o.Nodes[fleet.NeedNothing] == 1 {
			unchanged++
			continue
		}
		rows = append(rows, []string{o.Object.String(), o.Mode, fmt.Sprint(nodesOf(o)), needsText(o.Nodes), orOff(o.From), orOff(o.To), editText(o)})
	}
	p.Table("  ", []string{"OWNER", "MODE", "NODES", "NEEDS", "FROM", "TO", "EDIT"}, rows)
	if unchanged > 0 {
		p.Line("  %s: nothing to do", count(unchanged, "node"))
	}
}

func nodesOf(o fleet.ObjectPlan) int {
	n := 0
	for _, v := range o.Nodes {
		n += v
	}
	return n
}

// needOrder is the order in which needs are told.
var needOrder = []fleet.Need{
	fleet.NeedToggle, fleet.NeedReload, fleet.NeedEdit, fleet.NeedBlocked, fleet.NeedPaused, fleet.NeedManaged, fleet.NeedValidator,
	fleet.NeedNothing,
}

func needsText(needs map[fleet.Need]int) string {
	var parts []string
	for _, n := range needOrder {
		if needs[n] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", needs[n], n))
		}
	}
	return strings.Join(parts, ", ")
}

func editText(o fleet.ObjectPlan) string {
	switch works := o.Nodes[fleet.NeedToggle]+o.Nodes[fleet.NeedReload]+o.Nodes[fleet.NeedEdit] > 0; {
	case !works:
		return "-"
	case o.Kind == fleet.KindDeployment:
		return "spec.template.spec.sidecar.tls"
	}
	return "spec.sidecar.tls"
}

func orOff(s string) string {
	if s == "" {
		return "off"
	}
	return s
}

// leftText says which nodes are left alone, and why: by reason.
func leftText(p *ui.Printer, plan *fleet.Plan) {
	type group struct {
		need   fleet.Need
		reason string
		nodes  []string
	}
	var groups []group
	for i := range plan.Nodes {
		n := &plan.Nodes[i]
		if n.Need.Works() || n.Need == fleet.NeedNothing {
			continue
		}
		j := slices.IndexFunc(groups, func(g group) bool { return g.need == n.Need && g.reason == n.Reason })
		if j < 0 {
			j = len(groups)
			groups = append(groups, group{need: n.Need, reason: n.Reason})
		}
		groups[j].nodes = append(groups[j].nodes, n.Namespace+"/"+n.Name)
	}
	for _, g := range groups {
		p.Wrap("  "+p.Warn(string(g.need))+": ", fmt.Sprintf("%s: %s", few(g.nodes), g.reason))
	}
}

// managedText prints what to commit for objects that are managed elsewhere.
func managedText(p *ui.Printer, plan *fleet.Plan) {
	for _, o := range plan.Objects {
		if o.Change == "" || o.Nodes[fleet.NeedManaged] == 0 {
			continue
		}
		p.Line("  commit to %s, for %s:", o.Managed, o.Object)
		for line := range strings.SplitSeq(o.Change, "\n") {
			p.Line("    %s", line)
		}
	}
}

// mostWaves is how many waves are told one by one.
const mostWaves = 8

func wavesText(p *ui.Printer, plan *fleet.Plan) {
	rows := [][]string{}
	for i, w := range plan.Waves {
		if i == mostWaves-1 && len(plan.Waves) > mostWaves {
			nodes := 0
			for _, rest := range plan.Waves[i:] {
				nodes += len(rest.Nodes)
			}
			rows = append(rows, []string{fmt.Sprintf("%d more", len(plan.Waves)-i), count(nodes, "node")})
			break
		}
		name := w.Name
		if i == 0 && plan.Strategy.Canary > 0 && plan.Strategy.BakeSeconds > 0 {
			name += ", bake " + seconds(plan.Strategy.BakeSeconds)
		}
		rows = append(rows, []string{name, few(w.Nodes)})
	}
	p.Table("  ", []string{"WAVE", "NODES"}, rows)
}

func nodeWarnings(plan *fleet.Plan) (out []string) {
	for i := range plan.Nodes {
		for _, w := range plan.Nodes[i].Warnings {
			if !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	if len(out) > mostWaves {
		out = append(out[:mostWaves], fmt.Sprintf("%d more warnings: see -o json", len(out)-mostWaves))
	}
	return out
}

func totalText(plan *fleet.Plan) string {
	works := plan.Working()
	if works == 0 {
		left := len(plan.Nodes) - plan.Needs(fleet.NeedNothing)
		if left > 0 {
			return fmt.Sprintf("%s: nothing to do now, %d left alone", count(len(plan.Nodes), "node"), left)
		}
		return fmt.Sprintf("%s: nothing to do", count(len(plan.Nodes), "node"))
	}
	restarts := count(plan.Restarts, "restart")
	if plan.Restarts == 0 {
		restarts = "no pod is restarted"
	}
	text := fmt.Sprintf("%s: %d to change in %s, %s, at most %d at once", count(len(plan.Nodes), "node"), works,
		count(len(plan.Waves), "wave"), restarts, plan.AtOnce())
	switch reloads := plan.Needs(fleet.NeedReload) > 0; {
	case plan.Restarts > 0 && plan.ExpectedSeconds != nil:
		text += fmt.Sprintf(", about %s (a pod cycle of this fleet takes %s)", seconds(*plan.ExpectedSeconds), seconds(*plan.CycleSeconds))
	case plan.Restarts > 0:
		text += ", duration unknown: no node of the chain has been through a pod cycle yet"
	case reloads && plan.ExpectedSeconds != nil && plan.ReloadSeconds != nil:
		text += fmt.Sprintf(", about %s (another certificate takes %s in this fleet)", seconds(*plan.ExpectedSeconds), seconds(*plan.ReloadSeconds))
	}
	return text
}

// seconds is a duration that a reader can use.
func seconds(s float64) string { return short(time.Duration(s * float64(time.Second))) }

func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return strings.Replace(d.Round(time.Second).String(), "m0s", "m", 1)
	}
	return strings.Replace(strings.TrimSuffix(d.Round(time.Minute).String(), "0s"), "h0m", "h", 1)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// few joins names, the first of them.
func few(names []string) string {
	const most = 5
	if len(names) > most+1 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
