package fleet

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/settings"
)

// check makes the preflight of a rollout that changes something: each issuer once, each namespace once.
func (p *proposal) check(ctx context.Context, f *factory.Factory, c *factory.Cluster, drive bool) error {
	p.preflight = []preflight.Line{}
	if p.plan.Working() == 0 {
		return nil
	}
	in := p.preflightInput()
	in.Drive, in.PortForward = drive, !inCluster()
	facts := (&preflight.Collector{Client: c.Client, Kube: c.Kube, Now: f.Now}).Fleet(ctx, in)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := facts.Read.Err; err != nil && factory.Unreachable(err) {
		// Nothing else could be told.
		return c.Explain(err, "get", "configmaps", settings.Namespace, settings.ConfigMapName)
	}
	p.preflight = preflight.CheckFleet(facts)
	return nil
}

// preflightInput is every node that the rollout changes, as it will be, with its plan.
func (p *proposal) preflightInput() *preflight.FleetInput {
	in := &preflight.FleetInput{Settings: p.settings, Lease: leaseName(p.record.Chain), Command: "seictl fleet plan " + p.record.Selection.String()}
	nodes := map[types.NamespacedName]*v1alpha1.SeiNode{}
	for _, n := range p.observed.nodes {
		nodes[kube.ObjectKeyFromObject(n)] = n
	}
	templates := map[types.NamespacedName]*v1alpha1.SeiNodeDeployment{}
	for _, d := range p.observed.deployments {
		templates[kube.ObjectKeyFromObject(d)] = d
	}
	for i := range p.record.Nodes {
		n := &p.record.Nodes[i]
		o := &p.record.Objects[n.Object]
		edit := fleet.Edit{TLS: o.Target, Consent: o.Target == nil}
		edited, template := fleet.EditNode(nodes[n.Key()], edit), o.Kind == fleet.KindDeployment
		if template {
			// A child gets the whole template.
			edited.Spec = fleet.EditDeployment(templates[o.Key()], edit).Spec.Template.Spec
		}
		in.Add(edited, p.planOf(edited), template)
	}
	return in
}

// planOf is the plan of an edited node: the one that is under way, else the one that is due; nil for none.
func (p *proposal) planOf(n *v1alpha1.SeiNode) *v1alpha1.Plan {
	if n.Status.Plan.Active() {
		return n.Status.Plan
	}
	report := drift.Evaluate(drift.Input{Node: n, Settings: &p.settings})
	return plan.BuildRunningPlan(plan.Input{Node: n, Drift: report, Settings: &p.settings, Now: p.record.StartedAt})
}

// refusalError says that checks of the preflight failed.
type refusalError struct{ failed []preflight.Line }

// refusal says why a rollout is not started; nil when no check failed.
func (p *proposal) refusal() error {
	if !preflight.AnyFailed(p.preflight) {
		return nil
	}
	failed := slices.DeleteFunc(slices.Clone(p.preflight), func(l preflight.Line) bool { return l.Result != preflight.Failed })
	return exit.With(exit.Failed, &refusalError{failed})
}

func (e *refusalError) reason() string {
	return fmt.Sprintf("preflight: %s failed: %s: %s; nothing was changed", count(len(e.failed), "check"), e.failed[0].Check, e.failed[0].Message)
}

// Error names the first check, and the next command.
func (e *refusalError) Error() string {
	return e.reason() + nextCommand + e.failed[0].Hint + " (--skip-preflight lets the canary find out)"
}

// preflightText writes the checks as a table: how each came out, what was found, and the next command.
func preflightText(p *ui.Printer, checks []preflight.Line) {
	rows := [][]string{}
	for _, c := range checks {
		mark := p.Good("ok")
		switch c.Result {
		case preflight.Warning:
			mark = p.Warn("warn")
		case preflight.Failed:
			mark = p.Bad("FAIL")
		case preflight.Skipped:
			mark = p.Warn("skip")
		}
		detail := c.Message
		if c.Hint != "" {
			detail += "; next: " + c.Hint
		}
		rows = append(rows, []string{mark, c.Check, detail})
	}
	p.Table("  ", nil, rows)
}
