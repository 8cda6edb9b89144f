package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Settings can be changed while the simulator runs; they count for what happens from then on.
type Settings struct {
	// Start is how long seid takes from its start to an open RPC, and so to a Ready pod.
	Start Duration `json:"start"`
	// Stop is how long seid takes to stop; 0 is a tenth of a second.
	Stop Duration `json:"stop"`
	// Sync is how long a change of a Secret takes to reach the pods that mount it.
	Sync Duration `json:"sync"`
}

// Duration is a time.Duration that JSON knows as "2s".
type Duration time.Duration

// MarshalText writes it as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what Go writes.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	if parsed < 0 {
		return fmt.Errorf("%s is negative", parsed)
	}
	*d = Duration(parsed)
	return nil
}

// settingsStore holds the settings in force.
type settingsStore struct {
	mu  sync.Mutex
	now Settings
}

func (s *settingsStore) get() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *settingsStore) set(to Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = to
}

// read answers with the settings.
func (s *settingsStore) read(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.get()) // the client is gone: nobody to tell
}

// write changes the settings that are named.
func (s *settingsStore) write(w http.ResponseWriter, r *http.Request) {
	next := s.get()
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&next); err != nil {
		http.Error(w, "reading the settings: "+err.Error(), http.StatusBadRequest)
		return
	}
	s.set(next)
	s.read(w, r)
}
