package sidecar

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"sei.io/seictl/e2e/lab/standins/internal/files"
)

// Status of a task.
const (
	statusRunning   = "running"
	statusCompleted = "completed"
	statusFailed    = "failed"
)

// Task is a task as the API shows it and as it lies on the data volume.
type Task struct {
	ID          string         `json:"id"`
	Type        string         `json:"type"`
	Status      string         `json:"status"`
	Error       string         `json:"error,omitempty"`
	Params      map[string]any `json:"params,omitempty"`
	SubmittedAt time.Time      `json:"submittedAt"`
	CompletedAt *time.Time     `json:"completedAt,omitempty"`
}

// store keeps the tasks, one file each, so that a restarted sidecar still knows which ids it completed.
type store struct {
	dir string

	mu    sync.Mutex
	tasks map[string]Task
}

// openStore loads the tasks of earlier runs. A task that was running when the sidecar stopped has failed.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the task directory: %w", err)
	}
	s := &store{dir: dir, tasks: map[string]Task{}}
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("listing tasks: %w", err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading a task: %w", err)
		}
		var t Task
		if err := json.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("reading task %s: %w", name, err)
		}
		if t.Status == statusRunning {
			t.Status, t.Error = statusFailed, "interrupted by a restart of the sidecar"
			if err := s.write(t); err != nil {
				return nil, err
			}
		}
		s.tasks[t.ID] = t
	}
	return s, nil
}

// begin records a task as running and says whether it is to be executed: an id that runs or completed is left alone, a
// failed one runs again.
func (s *store) begin(t Task) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.tasks[t.ID]; ok && known.Status != statusFailed {
		return false, nil
	}
	t.Status = statusRunning
	if err := s.write(t); err != nil {
		return false, err
	}
	s.tasks[t.ID] = t
	return true, nil
}

// finish records how a task ended.
func (s *store) finish(id string, outcome error, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[id]
	t.Status, t.CompletedAt = statusCompleted, &now
	if outcome != nil {
		t.Status, t.Error = statusFailed, outcome.Error()
	}
	if err := s.write(t); err != nil {
		return err
	}
	s.tasks[id] = t
	return nil
}

func (s *store) get(id string) (Task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tasks[id]
	return t, ok
}

// list returns all tasks, oldest first; never nil, which JSON would show as null.
func (s *store) list() []Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.AppendSeq([]Task{}, maps.Values(s.tasks))
	slices.SortFunc(all, func(a, b Task) int {
		return cmp.Or(a.SubmittedAt.Compare(b.SubmittedAt), cmp.Compare(a.ID, b.ID))
	})
	return all
}

func (s *store) write(t Task) error {
	return files.WriteJSON(filepath.Join(s.dir, t.ID+".json"), t)
}

// canonicalID returns an id in its one spelling, a fresh one for none. It becomes a file name, so nothing but a UUID
// in the usual form passes.
func canonicalID(id string) (string, error) {
	if id == "" {
		return uuid.NewString(), nil
	}
	if len(id) != 36 {
		return "", fmt.Errorf("invalid task id %q: want a UUID", id)
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return "", fmt.Errorf("invalid task id %q: %w", id, err)
	}
	return parsed.String(), nil
}
