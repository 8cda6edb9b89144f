package drive

import (
	"fmt"
	"sort"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/plan"
)

// Progress is safe for concurrent use. It tells of every transition of a task, as lines or, on a terminal, as a view that is redrawn.
type Progress struct {
	out   *ui.Printer
	live  *ui.Live
	now   func() time.Time
	start time.Time
	seen  map[types.NamespacedName]*seenPlan

	mu   sync.Mutex
	stop chan struct{}
}

// seenPlan is what was told of a node's plan.
type seenPlan struct {
	id      string
	total   int
	status  []v1alpha1.TaskStatus
	message string
	node    *v1alpha1.SeiNode
	detail  string
}

// NewProgress tells on out; with live, a view is redrawn below what was told.
func NewProgress(out *ui.Printer, live *ui.Live, now func() time.Time) *Progress {
	p := &Progress{out: out, live: live, now: now, start: now(), seen: map[types.NamespacedName]*seenPlan{}, stop: make(chan struct{})}
	if live != nil {
		go p.tick()
	}
	return p
}

// tick lets the seconds of the view run while nothing happens.
func (p *Progress) tick() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.mu.Lock()
			p.redraw()
			p.mu.Unlock()
		}
	}
}

// Say tells one line.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(format, args...)
}

func (p *Progress) say(format string, args ...any) {
	p.live.Clear()
	p.out.Line("%s", p.out.Dim(fmt.Sprintf("%7.1fs", p.now().Sub(p.start).Seconds()))+"  "+fmt.Sprintf(format, args...))
	p.redraw()
}

// Node tells what changed of a node since it was told of last.
func (p *Progress) Node(key types.NamespacedName, node *v1alpha1.SeiNode, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.seen[key]
	if s == nil {
		s = &seenPlan{}
		p.seen[key] = s
	}
	s.node = node
	current := node.Status.Plan
	if s.id != "" && (current == nil || current.ID != s.id) {
		p.ended(key, s, node.Status.LastPlan)
	}
	if current != nil && (current.Active() || current.ID == s.id) {
		p.tasks(key, s, current)
	}
	if detail != s.detail {
		if s.detail = detail; detail != "" {
			p.say("%s  %s", key, detail)
		}
	}
	p.redraw()
}

// ended tells of the last tasks of a plan that is gone from the status.
func (p *Progress) ended(key types.NamespacedName, s *seenPlan, last *v1alpha1.PlanSummary) {
	if last != nil && last.ID == s.id {
		for i, t := range last.Tasks {
			if i >= len(s.status) || s.status[i] == t.Status || t.Status == v1alpha1.TaskPending {
				continue
			}
			took := ""
			if t.Duration != nil {
				took = fmt.Sprintf(" (%s)", roundDuration(t.Duration.Duration))
			}
			p.say("%s  %d/%d %s  %s%s", key, i+1, s.total, t.Type, p.styled(t.Status), took)
		}
		text := string(last.Outcome)
		if last.Detail != "" {
			text += ": " + last.Detail
		}
		p.say("%s  %s %s", key, last.Kind, text)
	}
	*s = seenPlan{node: s.node, detail: s.detail}
}

func (p *Progress) tasks(key types.NamespacedName, s *seenPlan, current *v1alpha1.Plan) {
	if s.id != current.ID {
		*s = seenPlan{id: current.ID, total: len(current.Tasks),
			status: make([]v1alpha1.TaskStatus, len(current.Tasks)), node: s.node, detail: s.detail}
		p.say("%s  %s", key, plan.Headline(current))
	}
	for i := range current.Tasks {
		t := &current.Tasks[i]
		if i >= len(s.status) {
			break
		}
		message := t.Message
		if t.Error != "" {
			message = t.Error
		}
		changed := s.status[i] != t.Status && t.Status != v1alpha1.TaskPending
		waits := t.Status == v1alpha1.TaskRunning && message != "" && message != s.message
		if changed || waits {
			p.task(key, s, i, t, message)
		}
		s.status[i] = t.Status
		if t.Status == v1alpha1.TaskRunning {
			s.message = message
		}
	}
}

func (p *Progress) task(key types.NamespacedName, s *seenPlan, i int, t *v1alpha1.Task, message string) {
	text := p.styled(t.Status)
	switch {
	case t.Status == v1alpha1.TaskRunning && message != "":
		text += ": " + message
	case t.Status == v1alpha1.TaskFailed, t.Status == v1alpha1.TaskSkipped:
		text += ": " + message
	case t.StartedAt != nil && t.FinishedAt != nil:
		text += fmt.Sprintf(" (%s)", roundDuration(t.FinishedAt.Sub(t.StartedAt.Time)))
	}
	p.say("%s  %d/%d %s  %s", key, i+1, s.total, t.Type, text)
}

func (p *Progress) styled(s v1alpha1.TaskStatus) string {
	switch s {
	case v1alpha1.TaskComplete:
		return p.out.Good(string(s))
	case v1alpha1.TaskFailed:
		return p.out.Bad(string(s))
	case v1alpha1.TaskSkipped:
		return p.out.Warn(string(s))
	}
	return string(s)
}

// redraw shows one line per node that is at work.
func (p *Progress) redraw() {
	if p.live == nil {
		return
	}
	var lines []string
	for _, key := range p.keys() {
		s := p.seen[key]
		if s.node == nil || !s.node.Status.Plan.Active() {
			continue
		}
		current := s.node.Status.Plan
		i := plan.Current(current)
		if i < 0 {
			continue
		}
		t := &current.Tasks[i]
		elapsed := ""
		if t.StartedAt != nil {
			elapsed = roundDuration(p.now().Sub(t.StartedAt.Time)).String()
		}
		lines = append(lines, fmt.Sprintf("%s %s  %d/%d %s  %s  %s", bar(i, len(current.Tasks)), key, i+1, len(current.Tasks), t.Type, elapsed, t.Message))
	}
	p.live.Draw(lines)
}

func (p *Progress) keys() []types.NamespacedName {
	keys := make([]types.NamespacedName, 0, len(p.seen))
	for k := range p.seen {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	return keys
}

// Close takes the view away.
func (p *Progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.live.Clear()
	p.live = nil
}

const barWidth = 12

func bar(done, total int) string {
	n := barWidth * done / max(total, 1)
	out := make([]rune, barWidth)
	for i := range out {
		if out[i] = '░'; i < n {
			out[i] = '█'
		}
	}
	return string(out)
}

// roundDuration keeps what a reader can use.
func roundDuration(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
