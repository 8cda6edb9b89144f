package fleet

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/fleet"
)

// reporter tells of a rollout: one line per event, a view that is redrawn on a terminal, or a stream of JSON. It is safe for
// concurrent use.
type reporter struct {
	notices *ui.Printer
	// stream is where JSON goes; nil for text.
	stream *stream
	now    func() time.Time
	begun  time.Time

	mu        sync.Mutex
	live      *ui.Live
	record    *fleet.Record
	lastError string
	stop      chan struct{}
	stopped   sync.Once
}

func newReporter(f *factory.Factory, format *output.Format) *reporter {
	r := &reporter{notices: f.Notices(), now: f.Now, begun: f.Now(), stop: make(chan struct{})}
	if format.String() == output.JSON {
		r.stream = &stream{out: f.Out}
		return r
	}
	if f.Terminal.Err {
		r.live = ui.NewLive(f.ErrOut, f.Terminal.Width)
		go r.tick()
	}
	return r
}

// tick lets the ages of the view run while nothing happens.
func (r *reporter) tick() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-t.C:
			r.mu.Lock()
			r.redraw()
			r.mu.Unlock()
		}
	}
}

// close takes the view away.
func (r *reporter) close() {
	r.stopped.Do(func() { close(r.stop) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live.Clear()
	r.live = nil
}

// start tells which rollout it is.
func (r *reporter) start(record *fleet.Record, how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record = record
	r.tell(Event{Type: eventRollout, Rollout: record.Name, Chain: record.Chain, Action: record.Action,
		Nodes: len(record.Nodes), Waves: record.Waves(), Detail: how})
}

// progress tells what changed.
func (r *reporter) progress(old, now *fleet.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record = now
	for _, e := range compare(old, now, r.now()) {
		r.tell(e)
	}
	r.redraw()
}

// say tells one line of text.
func (r *reporter) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell(Event{Type: eventNotice, Detail: fmt.Sprintf(format, args...)})
}

// trouble tells of an error that is tried again, once until another one comes.
func (r *reporter) trouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := err.Error(); text != r.lastError {
		r.lastError = text
		r.tell(Event{Type: eventNotice, Detail: "trying again after: " + text})
	}
}

func (r *reporter) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live.Clear()
	r.notices.Wrap(r.notices.Warn("warning")+": ", text)
	r.redraw()
}

// tell writes one event. The mutex is held.
func (r *reporter) tell(e Event) {
	if e.Time.IsZero() {
		e.Time = r.now()
	}
	e.Time = e.Time.UTC()
	if r.stream != nil {
		r.stream.write(e)
		return
	}
	text := r.text(e)
	if text == "" {
		return
	}
	r.live.Clear()
	r.notices.Line("%s  %s", r.notices.Dim(fmt.Sprintf("%7.1fs", r.now().Sub(r.begun).Seconds())), text)
	r.redraw()
}

func (r *reporter) text(e Event) string {
	switch e.Type {
	case eventRollout:
		return fmt.Sprintf("%s %s: %s in %s", e.Detail, r.notices.Bold(e.Rollout), count(e.Nodes, "node"), count(e.Waves, "wave"))
	case eventWave:
		return r.notices.Bold(e.Wave) + ": " + count(e.Nodes, "node")
	case eventNode:
		text := e.Node + "  " + styled(r.notices, e.Outcome)
		if e.Detail != "" {
			text += ": " + e.Detail
		}
		return text
	case eventState:
		if e.Reason != "" {
			return "rollout " + string(e.State) + ": " + e.Reason
		}
		return "rollout " + string(e.State)
	case eventNotice:
		return e.Detail
	}
	return ""
}

func styled(p *ui.Printer, o fleet.Outcome) string {
	switch o {
	case fleet.Done:
		return p.Good(string(o))
	case fleet.NodeFailed:
		return p.Bad(string(o))
	case fleet.Skipped:
		return p.Warn(string(o))
	}
	return string(o)
}

// mostLines is how many nodes the view shows.
const mostLines = 12

// redraw shows how far the rollout is: failures first, then what is under way.
func (r *reporter) redraw() {
	if r.live == nil || r.record == nil {
		return
	}
	r.live.Draw(viewLines(r.record, r.now(), r.now().Sub(r.begun)))
}

func viewLines(record *fleet.Record, now time.Time, elapsed time.Duration) []string {
	counts := record.Count()
	ended := counts[fleet.Done] + counts[fleet.NodeFailed] + counts[fleet.Skipped]
	lines := []string{fmt.Sprintf("%s  %s %d/%d  %s  %s", record.Chain, bar(ended, len(record.Nodes)), ended, len(record.Nodes),
		countsText(counts), short(elapsed.Round(time.Second)))}
	for _, c := range record.Causes() {
		lines = append(lines, fmt.Sprintf("  failed  %s: %s", few(c.Nodes), c.Text))
	}
	more := 0
	for i := range record.Nodes {
		n := &record.Nodes[i]
		if n.Outcome != fleet.Started && n.Outcome != fleet.Verifying {
			continue
		}
		if len(lines) > mostLines {
			more++
			continue
		}
		since := ""
		if n.StartedAt != nil {
			since = age(now, *n.StartedAt)
		}
		lines = append(lines, fmt.Sprintf("  %-8s  %s/%s  %s  %s  %s", record.WaveName(n.Wave), n.Namespace, n.Name, n.Outcome, since, n.Detail))
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("  and %s under way", count(more, "more node")))
	}
	if record.BakeFrom != nil && !record.Baked {
		left := record.BakeFrom.Add(record.Strategy.Bake).Sub(now)
		lines = append(lines, "  bake: the canaries are watched for another "+short(max(left, 0)))
	}
	return lines
}

// outcomeOrder is the order in which outcomes are told.
var outcomeOrder = []fleet.Outcome{fleet.Done, fleet.NodeFailed, fleet.Skipped, fleet.Verifying, fleet.Started, fleet.Pending}

func countsText(counts map[fleet.Outcome]int) string {
	var parts []string
	for _, o := range outcomeOrder {
		if counts[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[o], o))
		}
	}
	return strings.Join(parts, ", ")
}

const barWidth = 20

func bar(done, total int) string {
	n := barWidth * done / max(total, 1)
	return strings.Repeat("█", n) + strings.Repeat("░", barWidth-n)
}
