// Package sidecar is a stand-in for the node sidecar: its HTTP API, its two listening modes, its memory for task ids
// and its forgetfulness about readiness.
package sidecar

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// userHeader carries the caller's name, put there by the proxy in front.
const userHeader = "X-Remote-User"

// Config is what a sidecar is told at its start.
type Config struct {
	// Home is the node's home directory on the data volume.
	Home string
	// Port to listen on.
	Port string
	// TrustedHeader is the mode behind the proxy: loopback only, and a caller's name on every path but the open ones.
	TrustedHeader bool
	Version       string
	// TaskTime is how long a task runs.
	TaskTime time.Duration
	Faults   *faults.Source
	Log      *slog.Logger
	// Changed, when set, is called when a task has ended: the sidecar may be ready now.
	Changed func()
}

// Server is one run of the sidecar.
type Server struct {
	Config

	tasks *store
	// ready is whether mark-ready was executed in this process.
	ready atomic.Bool
	// running counts tasks under way.
	running sync.WaitGroup
	done    chan struct{}
}

// New opens the tasks of earlier runs; the server is not ready, whatever they were.
func New(c Config) (*Server, error) {
	tasks, err := openStore(filepath.Join(c.Home, "sidecar", "tasks"))
	if err != nil {
		return nil, err
	}
	return &Server{Config: c, tasks: tasks, done: make(chan struct{})}, nil
}

// Handler returns the whole API.
func (s *Server) Handler() http.Handler {
	open := http.NewServeMux()
	open.HandleFunc("GET /v0/healthz", s.health)
	open.HandleFunc("GET /v0/startupz", s.health)
	open.HandleFunc("GET /v0/livez", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	open.HandleFunc("GET /v0/metrics", s.metrics)

	closed := http.NewServeMux()
	closed.HandleFunc("POST /v0/tasks", s.postTask)
	closed.HandleFunc("GET /v0/tasks", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, s.tasks.list())
	})
	closed.HandleFunc("GET /v0/tasks/{id}", s.getTask)
	closed.HandleFunc("GET /v0/status", s.status)
	closed.HandleFunc("GET /v0/node-id", s.nodeID)
	closed.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such endpoint: %s %s", r.Method, r.URL.Path)
	})

	// Whatever is not one of the four open paths is closed, also what does not exist.
	open.Handle("/", s.authenticated(closed))
	return s.logged(s.hanging(open))
}

// health is the start gate of seid and the node's readiness.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if !s.ready.Load() || s.Faults.Has(kinds.Status503) {
		reply(w, http.StatusServiceUnavailable, map[string]string{"error": "not ready"})
		return
	}
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	ready := 0
	if s.ready.Load() {
		ready = 1
	}
	counts := map[string]int{}
	for _, t := range s.tasks.list() {
		counts[t.Status]++
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "# TYPE sei_sidecar_ready gauge\nsei_sidecar_ready %d\n# TYPE sei_sidecar_tasks gauge\n", ready)
	for _, status := range []string{statusRunning, statusCompleted, statusFailed} {
		fmt.Fprintf(w, "sei_sidecar_tasks{status=%q} %d\n", status, counts[status])
	}
}

func (s *Server) postTask(w http.ResponseWriter, r *http.Request) {
	var req struct {
		ID     string         `json:"id"`
		Type   string         `json:"type"`
		Params map[string]any `json:"params"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req); err != nil {
		fail(w, http.StatusBadRequest, "invalid request body: %v", err)
		return
	}
	id, err := canonicalID(req.ID)
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	if _, known := taskTypes[req.Type]; !known {
		fail(w, http.StatusBadRequest, "unknown task type %q", req.Type)
		return
	}
	if req.Type == markReady && s.Faults.Has(kinds.RefuseMarkReady) {
		fail(w, http.StatusInternalServerError, "mark-ready refused")
		return
	}
	if _, lose := s.faultFor(kinds.LoseTask, req.Type); !lose {
		if err := s.submit(Task{ID: id, Type: req.Type, Params: req.Params}); err != nil {
			fail(w, http.StatusInternalServerError, "storing the task: %v", err)
			return
		}
	}
	reply(w, http.StatusCreated, map[string]string{"id": id})
}

// submit stores a task and runs it in the background, unless its id already runs or completed.
func (s *Server) submit(t Task) error {
	t.SubmittedAt = time.Now().UTC()
	execute, err := s.tasks.begin(t)
	if err != nil || !execute {
		return err
	}
	s.running.Go(func() {
		select {
		case <-s.done:
			return // the next run finds it interrupted
		case <-time.After(s.TaskTime):
		}
		outcome := s.execute(t)
		if err := s.tasks.finish(t.ID, outcome, time.Now().UTC()); err != nil {
			s.Log.Error("storing a task's outcome", "id", t.ID, "error", err)
		}
		s.Log.Info("task ended", "id", t.ID, "type", t.Type, "outcome", fmt.Sprint(outcome))
		if s.Changed != nil {
			s.Changed()
		}
	})
	return nil
}

// stop abandons the tasks under way and waits for those that are past waiting.
func (s *Server) stop() {
	close(s.done)
	s.running.Wait()
}

func (s *Server) getTask(w http.ResponseWriter, r *http.Request) {
	id, err := canonicalID(r.PathValue("id"))
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	t, ok := s.tasks.get(id)
	if !ok {
		fail(w, http.StatusNotFound, "task %s not found", id)
		return
	}
	reply(w, http.StatusOK, t)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{
		"ready": s.ready.Load(), "version": s.Version, "tasks": s.tasks.list(),
	})
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The caller hung up when this fails; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, code int, format string, args ...any) {
	reply(w, code, map[string]string{"error": fmt.Sprintf(format, args...)})
}

// userNames joins the caller's names for the log, which must show a forged second one too.
func userNames(r *http.Request) string { return strings.Join(r.Header.Values(userHeader), ",") }
