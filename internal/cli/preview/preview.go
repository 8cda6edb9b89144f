// Package preview says what a node would do: its drift, the plan that is due, and what keeps it from running. It decides
// nothing by itself: drift.Evaluate and plan.Resolve do.
package preview

import (
	"fmt"
	"time"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/dryrun"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/settings"
)

// Item is the preview of one node: the JSON contract of `seictl node plan -o json`. No field is ever left out.
type Item struct {
	Node Node `json:"node"`
	// Drift found, in the order of the chain of checks.
	Drift []Drift `json:"drift"`
	// Reason of NodeUpdateInProgress once the plan runs; null unless a NodeUpdate is due.
	Reason *string `json:"reason"`
	// Plan that is due or under way; null when there is none.
	Plan *Plan `json:"plan"`
	// PodCycles is how many running pods the plan replaces.
	PodCycles int `json:"podCycles"`
	// Warnings for whoever decides.
	Warnings []string `json:"warnings"`
	// Objects that the plan would write, from a server-side dry run; empty without a cluster.
	Objects []dryrun.Object `json:"objects"`
	// Preflight says what must hold before it runs; empty without a cluster, or when nothing is due.
	Preflight []preflight.Line `json:"preflight"`

	// Decision and Report are what the item was made from.
	Decision plan.Decision `json:"-"`
	Report   drift.Report  `json:"-"`
	// Foreign names another live controller that writes the node; empty for none. The engine refuses such a node.
	Foreign string `json:"-"`
	// Asleep says that the sidecar of a running node does not answer: its pod may be coming up, and will need to be marked
	// ready.
	Asleep bool `json:"-"`
}

// Node names a node.
type Node struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	ChainID   string `json:"chainId"`
	Mode      string `json:"mode"`
}

// Drift is one finding.
type Drift struct {
	Subject string `json:"subject"`
	// From and To are such as "ClusterIssuer/x", "Secret/x" or an image; empty for off.
	From string `json:"from"`
	To   string `json:"to"`
	Why  string `json:"why"`
}

// Plan is what would run.
type Plan struct {
	Kind   string   `json:"kind"`
	Causes []string `json:"causes"`
	Tasks  []Task   `json:"tasks"`
}

// Task is one step of it.
type Task struct {
	Type string `json:"type"`
	Why  string `json:"why"`
}

// Input of a preview.
type Input struct {
	// Node with the edit that is previewed.
	Node *v1alpha1.SeiNode
	// Snapshot of what is in the cluster; nil offline.
	Snapshot *drift.Snapshot
	Settings settings.Settings
	Now      time.Time
	// Warnings that are known already.
	Warnings []string
}

// previewID stands for the id that the plan would get.
const previewID = "00000000-0000-0000-0000-000000000000"

// Build previews a node.
func Build(in Input) Item {
	node := in.Node
	in.Warnings = append(in.Warnings, assumePhase(&node)...)
	report, decision := resolve(node, in, false)
	item := Item{
		Node:     Node{Namespace: node.Namespace, Name: node.Name, ChainID: node.Spec.ChainID, Mode: node.Mode()},
		Drift:    []Drift{},
		Warnings: append([]string{}, in.Warnings...),
		Objects:  []dryrun.Object{}, Preflight: []preflight.Line{},
		Report: report,
	}
	for _, f := range report.Findings {
		item.Drift = append(item.Drift, Drift{Subject: f.Subject, From: f.From, To: f.To, Why: f.Why})
	}
	item.Warnings = append(item.Warnings, report.Warnings...)
	switch decision.Idle {
	case plan.IdlePaused:
		item.Warnings = append(item.Warnings, pausedWarning(node, in))
	case plan.IdleBackoff:
		// Whoever drives by hand does not wait: the plan is shown, and since when it is.
		item.Warnings = append(item.Warnings, decision.Detail)
		_, decision = resolve(node, in, true)
	case plan.IdleHeld:
		item.Warnings = append(item.Warnings, fmt.Sprintf("held since %s: %s; next: change the spec, or seictl node retry %s -n %s",
			node.Status.Hold.Since.UTC().Format(time.RFC3339), decision.Detail, node.Name, node.Namespace))
	case plan.IdleBlocked:
		item.Warnings = append(item.Warnings, "the update does not start: "+decision.Detail)
	case plan.IdleTerminating:
		item.Warnings = append(item.Warnings, decision.Detail)
	}
	item.Asleep = in.Snapshot != nil && in.Node.Status.Phase == v1alpha1.PhaseRunning && in.Snapshot.Sidecar != drift.SidecarOK
	if in.Snapshot != nil && in.Snapshot.ForeignController != "" {
		item.Foreign = in.Snapshot.ForeignController
		item.Warnings = append(item.Warnings, "the controller "+item.Foreign+" writes this node as well: stop it before seictl drives the node")
	}
	item.Decision = decision
	item.setPlan(decision.Plan)
	if p := decision.Plan; p != nil && !decision.New && node.Spec.Paused {
		item.Warnings = append(item.Warnings, "spec.paused is true: the plan under way stops before apply-statefulset, after it runs to its end")
	}
	return item
}

// Decide says what a pass would go on with.
func Decide(in Input) plan.Decision {
	_, d := resolve(in.Node, in, false)
	return d
}

// assumePhase takes a node whose observed image is known as Running when nobody wrote a phase: only files lack it.
func assumePhase(node **v1alpha1.SeiNode) []string {
	n := *node
	if n.Status.Phase != "" || n.Status.CurrentImage == "" {
		return nil
	}
	n = n.DeepCopy()
	n.Status.Phase = v1alpha1.PhaseRunning
	*node = n
	return []string{"status.phase is missing: taken as Running, because status.currentImage is set"}
}

func resolve(node *v1alpha1.SeiNode, in Input, ignoreBackoff bool) (drift.Report, plan.Decision) {
	s := in.Settings
	report := drift.Evaluate(drift.Input{
		Node: node, Snapshot: in.Snapshot, Settings: &s, Held: plan.Held(node, in.Snapshot),
	})
	decision := plan.Resolve(plan.Input{
		Node: node, Drift: report, Snapshot: in.Snapshot, Settings: &s, Now: in.Now, ID: previewID,
	}, plan.Options{IgnoreBackoff: ignoreBackoff})
	return report, decision
}

// pausedWarning says what would run if the node were not paused.
func pausedWarning(node *v1alpha1.SeiNode, in Input) string {
	resumed := node.DeepCopy()
	resumed.Spec.Paused = false
	_, d := resolve(resumed, in, true)
	next := fmt.Sprintf("next: kubectl patch seinode %s -n %s --type=merge -p '{\"spec\":{\"paused\":false}}'", node.Name, node.Namespace)
	if d.Plan == nil {
		return "spec.paused is true: nothing runs; " + next
	}
	tasks := ""
	for i := range d.Plan.Tasks {
		if i > 0 {
			tasks += ", "
		}
		tasks += string(d.Plan.Tasks[i].Type)
	}
	return fmt.Sprintf("spec.paused is true: nothing runs; after unpausing: %s: %s; %s", plan.Headline(d.Plan), tasks, next)
}

func (item *Item) setPlan(p *v1alpha1.Plan) {
	if p == nil {
		return
	}
	out := &Plan{Kind: string(p.Kind), Causes: []string{}, Tasks: []Task{}}
	for _, c := range p.Causes {
		out.Causes = append(out.Causes, string(c))
	}
	for i := range p.Tasks {
		out.Tasks = append(out.Tasks, Task{Type: string(p.Tasks[i].Type), Why: p.Tasks[i].Why})
	}
	item.Plan, item.PodCycles = out, plan.PodCycles(p)
	if p.Kind == v1alpha1.NodeUpdate {
		reason := plan.NodeUpdateReason(p.Causes)
		item.Reason = &reason
	}
}

// CountPodCycles counts the pods that the plan really replaces, once the dry run has told: one that a plan under way has
// replaced already, or that came back new after an eviction, is not replaced again.
func (item *Item) CountPodCycles() {
	replaced := 0
	for i := range item.Objects {
		switch item.Objects[i].Action {
		case dryrun.Refused:
			return
		case dryrun.Replace:
			replaced++
		}
	}
	item.PodCycles = min(item.PodCycles, replaced)
}

// Due says whether a plan is due or under way.
func (item *Item) Due() bool { return item.Plan != nil }

// Paused says whether nothing runs because the node is paused.
func (item *Item) Paused() bool { return item.Decision.Idle == plan.IdlePaused }

// Held says whether nothing runs because a plan failed for good.
func (item *Item) Held() bool { return item.Decision.Idle == plan.IdleHeld }

// Blocked says whether nothing runs because a gate does not hold.
func (item *Item) Blocked() bool { return item.Decision.Idle == plan.IdleBlocked }
