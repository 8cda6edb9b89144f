package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/fleet"
)

// EventsVersion is the version of the stream of `-o json`: it is in the first line. Fields may be added to a version.
const EventsVersion = "seictl.sei.io/fleet-events/v1"

// Types of event.
const (
	eventRollout = "rollout"
	eventWave    = "wave"
	eventNode    = "node"
	eventState   = "state"
	eventNotice  = "notice"
	eventEnd     = "end"
)

// Event is one line of `-o json`.
type Event struct {
	// Version is in the first line only.
	Version string    `json:"version,omitempty"`
	Type    string    `json:"type"`
	Time    time.Time `json:"time"`
	// Rollout, Chain, Action, Nodes and Waves are those of the rollout; type rollout. A wave has Nodes, an end may have the first
	// three.
	Rollout string `json:"rollout,omitempty"`
	Chain   string `json:"chain,omitempty"`
	Action  string `json:"action,omitempty"`
	Nodes   int    `json:"nodes,omitempty"`
	Waves   int    `json:"waves,omitempty"`
	// Wave that starts, or that a node is of.
	Wave string `json:"wave,omitempty"`
	// Node is namespace/name, and Outcome how far it is.
	Node    string        `json:"node,omitempty"`
	Outcome fleet.Outcome `json:"outcome,omitempty"`
	// State of the rollout, with Reason; types state and end.
	State  fleet.State `json:"state,omitempty"`
	Reason string      `json:"reason,omitempty"`
	// Detail says what a node waits for or why it failed, or is the text of a notice; of a rollout whether it is new.
	Detail string `json:"detail,omitempty"`
	// Counts of nodes by outcome, Causes of failures, nodes Left alone, the ExitCode and the Next command; type end. Preflight are
	// the checks that failed, where they kept the rollout from starting.
	Counts    map[fleet.Outcome]int `json:"counts,omitempty"`
	Causes    []fleet.Cause         `json:"causes,omitempty"`
	Left      []fleet.LeftRecord    `json:"left,omitempty"`
	Preflight []preflight.Line      `json:"preflight,omitempty"`
	ExitCode  *int                  `json:"exitCode,omitempty"`
	Next      string                `json:"next,omitempty"`
}

// stream is where the events of one command go as JSON, whoever tells them: the first line has the version.
type stream struct {
	out io.Writer

	mu           sync.Mutex
	begun, ended bool
}

func (s *stream) write(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		e.Version = EventsVersion
	}
	data, err := json.Marshal(e)
	if err != nil {
		return
	}
	s.begun, s.ended = true, s.ended || e.Type == eventEnd
	fmt.Fprintln(s.out, string(data))
}

// streaming runs a command whose -o json is a stream of events: however early it ends, the stream has its first line and its
// end. about is what is known beforehand.
func streaming(f *factory.Factory, format *output.Format, about Event, run func(*stream) error) error {
	s := &stream{out: f.Out}
	err := run(s)
	if format.String() == output.JSON && !s.ended {
		s.write(earlyEnd(about, err, f.Now()))
	}
	return err
}

// earlyEnd is the end of a command that did not come to drive a rollout.
func earlyEnd(about Event, err error, at time.Time) Event {
	e, code := about, exit.Code(err)
	e.Type, e.Time, e.ExitCode = eventEnd, at.UTC(), &code
	e.Reason, e.Next, _ = strings.Cut(exit.Message(err), nextCommand)
	var refused *refusalError
	if errors.As(err, &refused) {
		e.Preflight, e.Reason, e.Next = refused.failed, refused.reason(), refused.failed[0].Hint
	}
	return e
}

// nextCommand is what stands in an error before the next command.
const nextCommand = "; next: "

// changing are the parts of a detail that change all the time without telling anything new.
var changing = regexp.MustCompile(`\(?(height )?\d+\)?`)

func sameDetail(a, b string) bool {
	return changing.ReplaceAllString(a, "") == changing.ReplaceAllString(b, "")
}

// compare is what happened between two looks at a rollout.
func compare(old, now *fleet.Record, at time.Time) []Event {
	var out []Event
	started := map[int]bool{}
	for i := range now.Nodes {
		n := &now.Nodes[i]
		was := fleet.NodeRecord{Outcome: fleet.Pending}
		if i < len(old.Nodes) {
			was = old.Nodes[i]
		}
		if was.Outcome == fleet.Pending && n.Outcome != fleet.Pending && !started[n.Wave] && !begun(old, n.Wave) {
			started[n.Wave] = true
			out = append(out, Event{Type: eventWave, Time: at, Wave: now.WaveName(n.Wave), Nodes: sizeOf(now, n.Wave)})
		}
		if was.Outcome != n.Outcome || (!sameDetail(was.Detail, n.Detail) && n.Detail != "") {
			out = append(out, Event{Type: eventNode, Time: at, Node: n.Namespace + "/" + n.Name, Wave: now.WaveName(n.Wave),
				Outcome: n.Outcome, Detail: n.Detail})
		}
	}
	if old.BakeFrom == nil && now.BakeFrom != nil && now.Strategy.Bake > 0 {
		out = append(out, Event{Type: eventNotice, Time: at, Detail: "the canaries passed their gates; they are watched until " +
			now.BakeFrom.Add(now.Strategy.Bake).UTC().Format(time.RFC3339)})
	}
	if old.State != now.State {
		out = append(out, Event{Type: eventState, Time: at, State: now.State, Reason: now.Reason})
	}
	return out
}

func begun(r *fleet.Record, wave int) bool {
	for i := range r.Nodes {
		if r.Nodes[i].Wave == wave && r.Nodes[i].Outcome != fleet.Pending {
			return true
		}
	}
	return false
}

func sizeOf(r *fleet.Record, wave int) int {
	n := 0
	for i := range r.Nodes {
		if r.Nodes[i].Wave == wave {
			n++
		}
	}
	return n
}
