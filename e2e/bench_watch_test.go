//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// tap reads along what the watches of a client are sent, and notes when each event arrived.
type tap struct {
	mu     sync.Mutex
	events []arrival
}

// arrival is one event of a watch. It is decoded when everything is over.
type arrival struct {
	at   time.Time
	line []byte
}

// wrap has a client's requests go through the tap.
func (t *tap) wrap(next http.RoundTripper) http.RoundTripper { return &tapped{tap: t, next: next} }

type tapped struct {
	tap  *tap
	next http.RoundTripper
}

// RoundTrip asks for JSON, which can be read along, and follows watches.
func (r *tapped) RoundTrip(req *http.Request) (*http.Response, error) {
	if accept := req.Header.Get("Accept"); strings.Contains(accept, "protobuf") {
		var kept []string
		for part := range strings.SplitSeq(accept, ",") {
			if !strings.Contains(part, "protobuf") {
				kept = append(kept, part)
			}
		}
		if len(kept) == 0 {
			kept = []string{"application/json"}
		}
		req = req.Clone(req.Context())
		req.Header.Set("Accept", strings.Join(kept, ","))
	}
	resp, err := r.next.RoundTrip(req)
	if err == nil && req.URL.Query().Get("watch") != "" {
		resp.Body = &tappedBody{ReadCloser: resp.Body, tap: r.tap}
	}
	return resp, err
}

type tappedBody struct {
	io.ReadCloser
	tap  *tap
	rest []byte
}

func (b *tappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	at := time.Now()
	b.rest = append(b.rest, p[:n]...)
	for {
		line, rest, ok := bytes.Cut(b.rest, []byte("\n"))
		if !ok {
			return n, err
		}
		b.tap.mu.Lock()
		b.tap.events = append(b.tap.events, arrival{at: at, line: bytes.Clone(line)})
		b.tap.mu.Unlock()
		b.rest = rest
	}
}

// watched is what the benchmark needs of an event.
type watched struct {
	at     time.Time
	Type   string
	Object struct {
		Kind     string
		Metadata struct {
			Name, Namespace   string
			UID               types.UID
			Generation        int64
			DeletionTimestamp *time.Time
			Labels            map[string]string
		}
		Status watchedStatus
	}
}

type watchedStatus struct {
	ObservedGeneration int64
	UpdateRevision     string
	Conditions         []struct {
		Type, Status       string
		ObservedGeneration int64
	}
	InitContainerStatuses []struct {
		Name  string
		State struct{ Running *struct{} }
	}
}

// condition is the status of a condition, judged at a generation where that is not zero.
func (s *watchedStatus) condition(name string, generation int64) string {
	for _, c := range s.Conditions {
		if c.Type == name && (generation == 0 || c.ObservedGeneration == generation) {
			return c.Status
		}
	}
	return ""
}

// running says whether an init container runs.
func (s *watchedStatus) running(container string) bool {
	for _, c := range s.InitContainerStatuses {
		if c.Name == container {
			return c.State.Running != nil
		}
	}
	return false
}

// take returns the events of a namespace since the last call.
func (t *tap) take(ns string) (out []watched) {
	t.mu.Lock()
	events := t.events
	t.events = nil
	t.mu.Unlock()
	for _, e := range events {
		w := watched{at: e.at}
		if json.Unmarshal(e.line, &w) == nil && w.Object.Metadata.Namespace == ns {
			out = append(out, w)
		}
	}
	return out
}

// first is when the first event came that fits; zero for never.
func first(events []watched, fits func(*watched) bool) time.Time {
	for i := range events {
		if fits(&events[i]) {
			return events[i].at
		}
	}
	return time.Time{}
}
