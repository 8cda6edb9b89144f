// Package faultreg is the fault registry's server; package faults defines what
// it answers.
package faultreg

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sei.io/seictl/e2e/lab/faults"
)

// longPoll is how long a GET with ?after waits for a change.
const longPoll = 30 * time.Second

// Registry keeps the faults of all containers, in memory and in a file.
type Registry struct {
	file string

	mu        sync.Mutex
	data      stored
	changed   chan struct{} // closed and replaced at every change
	followers map[*follower]struct{}
}

// follower is told of the changes of one container.
type follower struct {
	key     string
	changed func(faults.State)
}

// stored is the registry's file.
type stored struct {
	// Last is the last generation given out to any container.
	Last       int64                   `json:"last"`
	Containers map[string]faults.State `json:"containers"`
}

// Open reads the registry's file; a missing one is an empty registry.
func Open(file string) (*Registry, error) {
	r := &Registry{file: file, changed: make(chan struct{}), followers: map[*follower]struct{}{}}
	data, err := os.ReadFile(file)
	switch {
	case os.IsNotExist(err):
	case err != nil:
		return nil, fmt.Errorf("reading the faults: %w", err)
	default:
		if err := json.Unmarshal(data, &r.data); err != nil {
			return nil, fmt.Errorf("reading the faults in %s: %w", file, err)
		}
	}
	if r.data.Containers == nil {
		r.data.Containers = map[string]faults.State{}
	}
	return r, nil
}

// State is what is set for a container.
func (r *Registry) State(namespace, pod, container string) faults.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state(strings.Join([]string{namespace, pod, container}, "/"))
}

// Follow calls changed with what is set for a container and after every change, until the returned function is called. It
// must return soon, and may not call the registry.
func (r *Registry) Follow(namespace, pod, container string, changed func(faults.State)) (end func()) {
	f := &follower{key: strings.Join([]string{namespace, pod, container}, "/"), changed: changed}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followers[f] = struct{}{}
	changed(r.state(f.key))
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.followers, f)
	}
}

// tell tells the followers of a container what is set now; the caller holds the lock.
func (r *Registry) tell(key string) {
	for f := range r.followers {
		if f.key == key {
			f.changed(r.state(key))
		}
	}
}

// Handler serves the registry's API.
func (r *Registry) Handler() http.Handler {
	mux := http.NewServeMux()
	const container = "/faults/{namespace}/{pod}/{container}"
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /faults", r.list)
	mux.HandleFunc("DELETE /faults", r.clearAll)
	mux.HandleFunc("GET "+container, r.get)
	mux.HandleFunc("PUT "+container, r.put)
	mux.HandleFunc("PUT "+container+"/{kind}", r.put)
	mux.HandleFunc("DELETE "+container, r.clear)
	mux.HandleFunc("DELETE "+container+"/{kind}", r.clear)
	return mux
}

// key names the container that a request is about.
func key(req *http.Request) string {
	return strings.Join([]string{req.PathValue("namespace"), req.PathValue("pod"), req.PathValue("container")}, "/")
}

// state is what is set for a container; the caller holds the lock.
func (r *Registry) state(key string) faults.State {
	s := r.data.Containers[key]
	if s.Faults == nil {
		s.Faults = []faults.Fault{}
	}
	return s
}

func (r *Registry) list(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer(w, http.StatusOK, r.data.Containers)
}

// get answers at once, or with ?after=N once the generation is not N.
func (r *Registry) get(w http.ResponseWriter, req *http.Request) {
	after, wait := int64(0), req.URL.Query().Has("after")
	if wait {
		var err error
		if after, err = strconv.ParseInt(req.URL.Query().Get("after"), 10, 64); err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("reading after: %w", err))
			return
		}
	}
	deadline := time.NewTimer(longPoll)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		state, changed := r.state(key(req)), r.changed
		r.mu.Unlock()
		if !wait || state.Generation != after {
			answer(w, http.StatusOK, state)
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			wait = false
		case <-req.Context().Done():
			return
		}
	}
}

// put sets one fault: the only one, or with a kind in the path one more.
func (r *Registry) put(w http.ResponseWriter, req *http.Request) {
	var fault faults.Fault
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20))
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, &fault)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("reading the fault: %w", err))
		return
	}
	kind := req.PathValue("kind")
	switch {
	case kind == "" && fault.Kind == "":
		fail(w, http.StatusBadRequest, fmt.Errorf("a fault needs a kind"))
		return
	case kind != "" && fault.Kind != "" && kind != fault.Kind:
		fail(w, http.StatusBadRequest, fmt.Errorf("the path says kind %q, the body %q", kind, fault.Kind))
		return
	}
	fault.Kind = cmp.Or(kind, fault.Kind)
	if len(fault.Params) == 0 || string(fault.Params) == "null" {
		fault.Params = json.RawMessage("{}")
	}
	r.update(w, key(req), func(old []faults.Fault) []faults.Fault {
		if kind == "" {
			return []faults.Fault{fault}
		}
		list := append(without(old, kind), fault)
		slices.SortFunc(list, func(a, b faults.Fault) int { return cmp.Compare(a.Kind, b.Kind) })
		return list
	})
}

// clear removes one kind, or all of a container.
func (r *Registry) clear(w http.ResponseWriter, req *http.Request) {
	kind := req.PathValue("kind")
	r.update(w, key(req), func(old []faults.Fault) []faults.Fault {
		if kind == "" {
			return []faults.Fault{}
		}
		return without(old, kind)
	})
}

func (r *Registry) clearAll(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, state := range r.data.Containers {
		if len(state.Faults) > 0 {
			r.data.Last++
			r.data.Containers[key] = faults.State{Generation: r.data.Last, Faults: []faults.Fault{}}
			r.tell(key)
		}
	}
	if err := r.save(); err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// update changes a container's faults, saves them, wakes who waits, answers.
func (r *Registry) update(w http.ResponseWriter, key string, change func([]faults.Fault) []faults.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.state(key)
	next := change(slices.Clone(state.Faults))
	if len(next) > 0 || len(state.Faults) > 0 {
		r.data.Last++
		r.data.Containers[key] = faults.State{Generation: r.data.Last, Faults: next}
		r.tell(key)
		if err := r.save(); err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
	}
	answer(w, http.StatusOK, r.state(key))
}

// save writes the file and wakes everybody; the caller holds the lock.
func (r *Registry) save() error {
	close(r.changed)
	r.changed = make(chan struct{})
	data, err := json.Marshal(r.data)
	if err != nil {
		return fmt.Errorf("encoding the faults: %w", err)
	}
	next := r.file + ".next"
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return fmt.Errorf("saving the faults: %w", err)
	}
	if err := os.Rename(next, r.file); err != nil {
		return fmt.Errorf("saving the faults: %w", err)
	}
	return nil
}

// without is the list less the fault of a kind.
func without(list []faults.Fault, kind string) []faults.Fault {
	return slices.DeleteFunc(list, func(f faults.Fault) bool { return f.Kind == kind })
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client is gone: nobody to tell
}

func fail(w http.ResponseWriter, code int, err error) {
	answer(w, code, map[string]string{"error": err.Error()})
}
