//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// The preview is the truth. Before every command that drives nodes the harness asks for its preview, `node plan -o json`, and
// when the command has come to its end it compares what was shown with what happened: the plans and their tasks with the
// status over time, the objects with the API server's audit log and the objects themselves, the pod cycles with the pods that
// were seen. TestScenarios fails where they differ, unless the row of the scenario says so, word for word (Scenario.Instead);
// and even then nothing may have been written that the preview did not name.

// shown is the preview of one node.
type shown struct {
	Node      struct{ Namespace, Name string }
	Plan      *shownPlan
	PodCycles int
	Objects   []shownObject
}

type shownPlan struct {
	Kind  string
	Tasks []struct{ Type string }
}

type shownObject struct{ Kind, Name, Action string }

// story is how it ends if all goes as shown.
func (p *shown) story() string {
	if p.Plan == nil {
		return nothing
	}
	return p.Plan.Kind + " complete"
}

// nothing is the story of a node that nothing happens to.
const nothing = "nothing"

// promise is a preview, how things stood then, and what became of it.
type promise struct {
	env   *env
	line  string
	node  types.NamespacedName
	shown shown
	// lastPlan had ended then, at lastEnd, and activePlan was under way.
	lastPlan, activePlan string
	lastEnd              time.Time
	objects              objects
	pods                 int
	audit                int64
	// waits says that the command has ended and that the promise is still to be kept: who was interrupted is resumed.
	waits, closed bool
	// instead is what happened, where that is not what was shown, and lies what must never happen.
	instead string
	lies    []string
}

// promises are those of all scenarios: one command may bring up the nodes of several.
type promises struct {
	mu   sync.Mutex
	made map[string][]*promise
	// plans and pods are what was seen, by namespace.
	plans map[string]*planHistory
	pods  map[string]*podHistory
}

// watchPromises has the promises about the nodes of a scenario kept an eye on.
func (s *S) watchPromises() {
	s.Helper()
	plans := watchPlans(s.T, s.env, s.ns)
	p := s.promises
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plans[s.ns], p.pods[s.ns] = plans, s.history
}

// watched says whether somebody has an eye on a namespace.
func (ps *promises) watched(ns string) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.pods[ns] != nil
}

// begin takes down how things stand.
func (p *promise) begin() error {
	node, err := p.live()
	if err != nil {
		return err
	}
	if node.Status.LastPlan != nil {
		p.lastPlan, p.lastEnd = node.Status.LastPlan.ID, node.Status.LastPlan.FinishedAt.Time
	}
	if node.Status.Plan.Active() {
		p.activePlan = node.Status.Plan.ID
	}
	if p.objects, err = p.env.objectsOf(p.node); err != nil {
		return err
	}
	if p.pods, err = p.podsSeen(); err != nil {
		return err
	}
	p.audit, err = p.env.auditEnd()
	return err
}

// podsSeen is how many incarnations the pod had until the live one.
func (p *promise) podsSeen() (n int, err error) {
	pod := p.node.Name + "-0"
	err = wait.PollUntilContextTimeout(background(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		now, err := p.env.objectsOf(p.node)
		if err != nil {
			return false, nil // the API server may be away for a moment
		}
		seen := p.history().of(pod)
		n = len(seen)
		uid := now.pod(p.node.Name)
		return uid == "" || (n > 0 && string(seen[n-1]) == uid), nil
	})
	if err != nil {
		return 0, fmt.Errorf("waiting until the watch has seen pod %s: %w", pod, err)
	}
	return n, nil
}

// live is the node; an empty one where there is none.
func (p *promise) live() (*v1alpha1.SeiNode, error) {
	var node v1alpha1.SeiNode
	return &node, client.IgnoreNotFound(p.env.client.Get(background(), p.node, &node))
}

func (p *promise) history() *podHistory {
	p.env.promises.mu.Lock()
	defer p.env.promises.mu.Unlock()
	return p.env.promises.pods[p.node.Namespace]
}

// settle is told how the command of promises ended. One that was interrupted, or gave up, is resumed by a later command, and
// what it showed is to come true all the same.
func (e *env) settle(args []string, made []*promise, code int) {
	for _, p := range made {
		switch {
		case code == lockHeld:
			// It has not even begun; whoever holds the lock has promises of its own.
			e.promises.drop(p)
		case slices.Contains([]int{killed, interrupted, failure, timedOut}, code), code != done && args[0] == "fleet":
			p.waits = true
		default:
			e.promises.closeBefore(p)
			p.close()
		}
	}
}

// closeBefore closes the promises about the same node whose commands have ended.
func (ps *promises) closeBefore(p *promise) {
	for _, open := range ps.of(p.node.Namespace) {
		if open != p && open.node == p.node && open.waits {
			open.close()
		}
	}
}

func (ps *promises) of(ns string) []*promise {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return slices.Clone(ps.made[ns])
}

func (ps *promises) drop(p *promise) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.made[p.node.Namespace] = slices.DeleteFunc(ps.made[p.node.Namespace], func(o *promise) bool { return o == p })
}

// close compares a promise with what has happened since.
func (p *promise) close() {
	if p.closed {
		return
	}
	p.closed = true
	plans, cycles, err := p.happened()
	if err != nil {
		p.lie("%v", err)
		return
	}
	var told []string
	for i := range plans {
		told = append(told, howItEnded(&plans[i]))
	}
	story := strings.Join(told, ", ")
	switch {
	case len(told) == 0 && cycles == 0:
		story = nothing
	case cycles != p.shown.PodCycles:
		story += fmt.Sprintf("; pod cycles: %d", cycles)
	}
	kept := story == p.shown.story()
	if !kept {
		p.instead = story
	}
	if p.shown.Plan != nil && len(plans) > 0 {
		p.compareTasks(&plans[0], kept)
	}
	p.compareObjects(plans, kept)
}

func (p *promise) lie(format string, args ...any) {
	p.lies = append(p.lies, fmt.Sprintf(format, args...))
}

// howItEnded is one plan in words: "NodeUpdate failed at replace-pod".
func howItEnded(l *v1alpha1.PlanSummary) string {
	text := string(l.Kind) + " " + strings.ToLower(string(l.Outcome))
	if l.FailedTask != "" {
		text += " at " + string(l.FailedTask)
	}
	return text
}

// happened are the plans that ended since, and how many pods gave way to others.
func (p *promise) happened() (plans []v1alpha1.PlanSummary, cycles int, err error) {
	p.env.promises.mu.Lock()
	history := p.env.promises.plans[p.node.Namespace]
	p.env.promises.mu.Unlock()
	err = wait.PollUntilContextTimeout(background(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		node, err := p.live()
		if err != nil {
			return false, nil // the API server may be away for a moment
		}
		plans = history.after(p.node.Name, p.lastPlan, p.lastEnd)
		l := node.Status.LastPlan
		return l == nil || l.ID == p.lastPlan || (len(plans) > 0 && plans[len(plans)-1].ID == l.ID), nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("waiting until the watch has seen the last plan of %s: %w", p.node, err)
	}
	pods, err := p.podsSeen()
	if err != nil {
		return nil, 0, err
	}
	cycles = pods - p.pods
	switch {
	case p.objects.pod(p.node.Name) != "" || cycles == 0:
	case p.activePlan != "":
		// The old pod was deleted and the new one is about to come: whether that still is a pod cycle is a matter of moments.
		if shown := p.shown.PodCycles; cycles == shown+1 {
			cycles = shown
		}
	default:
		cycles-- // the first one replaces none
	}
	// That the plan under way gives way is shown by the one that is shown instead.
	plans = slices.DeleteFunc(plans, func(l v1alpha1.PlanSummary) bool {
		return l.ID == p.activePlan && l.Outcome == v1alpha1.PlanSuperseded
	})
	return plans, cycles, nil
}

// compareTasks requires that the plan that ran is the one that was shown and, where it came to its end, that each task was done.
func (p *promise) compareTasks(plan *v1alpha1.PlanSummary, kept bool) {
	var want, got []string
	for _, t := range p.shown.Plan.Tasks {
		want = append(want, t.Type)
	}
	for _, t := range plan.Tasks {
		got = append(got, string(t.Type))
		if kept && t.Status != v1alpha1.TaskComplete {
			p.lie("task %s was shown and is %s", t.Type, t.Status)
		}
	}
	if !slices.Equal(want, got) {
		p.lie("the tasks shown are %v; those that ran: %v", want, got)
	}
}

// requirePreviewsTrue requires that every preview of the scenario came true, or that its row says what happened instead.
func (s *S) requirePreviewsTrue(instead []string, perhaps string) {
	s.Helper()
	var differs, lies []string
	made := s.promises.of(s.ns)
	slices.SortStableFunc(made, func(a, b *promise) int { return strings.Compare(a.node.Name, b.node.Name) })
	for _, p := range made {
		p.close()
		if p.instead != "" {
			if perhaps == "" || !strings.Contains(p.instead, perhaps) {
				differs = append(differs, p.instead)
			}
			s.Logf("%s: shown: %s; instead: %s", p.line, p.shown.story(), p.instead)
		}
		for _, l := range p.lies {
			lies = append(lies, p.line+": "+l)
		}
	}
	require.Empty(s, lies, "previews that were not true")
	require.Equal(s, instead, differs, "what happened instead of what was shown (Scenario.Instead)")
	s.Logf("%d previews compared", len(made))
}
