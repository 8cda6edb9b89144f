package sidecar

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sei.io/seictl/e2e/lab/standins/internal/files"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

const markReady = "mark-ready"

// taskTypes are the tasks this sidecar knows.
var taskTypes = map[string]func(*Server, map[string]any) error{
	"config-apply":    (*Server).configApply,
	"config-validate": (*Server).configValidate,
	markReady: func(s *Server, _ map[string]any) error {
		// In memory only: a restarted sidecar parks seid until somebody marks it ready again.
		s.ready.Store(true)
		return nil
	},
}

// execute runs one task to its end, or makes it fail where a fault says so.
func (s *Server) execute(t Task) error {
	if params, ok := s.faultFor(kinds.FailTask, t.Type); ok {
		return errors.New(cmp.Or(params.Error, t.Type+" failed"))
	}
	return taskTypes[t.Type](s, t.Params)
}

// faultFor finds a fault that is aimed at a task type, or at all of them when it names none.
func (s *Server) faultFor(kind, taskType string) (kinds.TaskParams, bool) {
	var params kinds.TaskParams
	f, ok := s.Faults.Get(kind)
	if !ok {
		return params, false
	}
	if err := f.Decode(&params); err != nil {
		s.Log.Error("ignoring a fault", "error", err)
		return params, false
	}
	return params, params.Type == "" || params.Type == taskType
}

func (s *Server) configPath(name string) string { return filepath.Join(s.Home, "config", name) }

// configApply keeps what it was given, for config-validate and for tests to read.
func (s *Server) configApply(params map[string]any) error {
	if err := os.MkdirAll(filepath.Join(s.Home, "config"), 0o755); err != nil {
		return fmt.Errorf("creating the config directory: %w", err)
	}
	if params == nil {
		params = map[string]any{}
	}
	return files.WriteJSON(s.configPath("applied.json"), params)
}

// configValidate refuses a home without config.toml, and the override "invalid", given with this task or applied before.
func (s *Server) configValidate(params map[string]any) error {
	if _, err := os.Stat(s.configPath("config.toml")); err != nil {
		return fmt.Errorf("config.toml: %w", err)
	}
	var applied map[string]any
	raw, err := os.ReadFile(s.configPath("applied.json"))
	if err == nil {
		err = json.Unmarshal(raw, &applied)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("applied.json: %w", err)
	}
	for _, p := range []map[string]any{params, applied} {
		overrides, _ := p["overrides"].(map[string]any)
		if _, bad := overrides["invalid"]; bad {
			return errors.New(`invalid configuration: unknown key "invalid"`)
		}
	}
	return nil
}
