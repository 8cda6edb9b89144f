package sidecar

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

const someID = "7e5a8c40-6f0e-5d5c-9a5b-0d9a3f6a1b2c"

// newServer returns a sidecar on a home; its tasks take no time.
func newServer(t *testing.T, home string, trusted bool, kinds ...string) *Server {
	t.Helper()
	s, err := New(Config{
		Home: home, TrustedHeader: trusted, Version: "test",
		Faults: faults.NewSource(kinds...), Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return s
}

// call sends a request with the given X-Remote-User headers and returns status code and body.
func call(s *Server, method, target, body string, users ...string) (int, map[string]any) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, u := range users {
		r.Header.Add(userHeader, u)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	var decoded map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &decoded)
	return w.Code, decoded
}

// post submits a task, waits until it ended and returns its state.
func post(t *testing.T, s *Server, body string) map[string]any {
	t.Helper()
	code, created := call(s, http.MethodPost, "/v0/tasks", body)
	require.Equal(t, http.StatusCreated, code)
	s.running.Wait()
	code, task := call(s, http.MethodGet, "/v0/tasks/"+created["id"].(string), "")
	require.Equal(t, http.StatusOK, code)
	return task
}

func TestTrustedHeader(t *testing.T) {
	t.Parallel()
	s := newServer(t, t.TempDir(), true)
	for name, tc := range map[string]struct {
		path  string
		users []string
		want  int
	}{
		"one name":                  {"/v0/status", []string{"alice"}, http.StatusOK},
		"no name":                   {"/v0/status", nil, http.StatusUnauthorized},
		"empty name":                {"/v0/status", []string{""}, http.StatusUnauthorized},
		"two names":                 {"/v0/status", []string{"alice", "mallory"}, http.StatusUnauthorized},
		"tasks without a name":      {"/v0/tasks", nil, http.StatusUnauthorized},
		"unknown path, no name":     {"/v0/secret", nil, http.StatusUnauthorized},
		"unknown path, with a name": {"/v0/secret", []string{"alice"}, http.StatusNotFound},
		"livez is open":             {"/v0/livez", nil, http.StatusOK},
		"metrics is open":           {"/v0/metrics", nil, http.StatusOK},
		"healthz is open":           {"/v0/healthz", nil, http.StatusServiceUnavailable},
		"startupz is open":          {"/v0/startupz", nil, http.StatusServiceUnavailable},
	} {
		code, body := call(s, http.MethodGet, tc.path, "", tc.users...)
		require.Equal(t, tc.want, code, name)
		if code == http.StatusUnauthorized {
			require.NotEmpty(t, body["error"], name)
		}
	}
}

func TestPlainModeAsksNobody(t *testing.T) {
	t.Parallel()
	s := newServer(t, t.TempDir(), false)
	code, status := call(s, http.MethodGet, "/v0/status", "")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, map[string]any{"ready": false, "version": "test", "tasks": []any{}}, status)
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	environment := func(mode string) func(string) string {
		return func(name string) string {
			return map[string]string{"SEI_SIDECAR_AUTHN_MODE": mode, "SEI_SIDECAR_PORT": "7000"}[name]
		}
	}
	trusted, err := FromEnvironment(environment("trusted-header"))
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7000", trusted.address())
	plain, err := FromEnvironment(environment(""))
	require.NoError(t, err)
	require.Equal(t, ":7000", plain.address())
	_, err = FromEnvironment(environment("trusted"))
	require.ErrorContains(t, err, "SEI_SIDECAR_AUTHN_MODE")
}

func TestBadTasksAreRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, t.TempDir(), false)
	for name, body := range map[string]string{
		"unknown type":      `{"type":"dance"}`,
		"no type":           `{}`,
		"no JSON":           `mark-ready`,
		"id is no UUID":     `{"type":"mark-ready","id":"1"}`,
		"id leaves the dir": `{"type":"mark-ready","id":"../../../../../../../../../../../tmp/xx"}`,
	} {
		code, answer := call(s, http.MethodPost, "/v0/tasks", body)
		require.Equal(t, http.StatusBadRequest, code, name)
		require.NotEmpty(t, answer["error"], name)
	}
	code, answer := call(s, http.MethodGet, "/v0/tasks/"+someID, "")
	require.Equal(t, http.StatusNotFound, code)
	require.NotEmpty(t, answer["error"])
}

func TestCompletedIDNeverArmsAgain(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	body := `{"type":"mark-ready","id":"` + someID + `"}`
	s := newServer(t, home, false)
	require.Equal(t, statusCompleted, post(t, s, body)["status"])
	code, _ := call(s, http.MethodGet, "/v0/healthz", "")
	require.Equal(t, http.StatusOK, code)

	restarted := newServer(t, home, false)
	require.Equal(t, statusCompleted, post(t, restarted, body)["status"], "the id is remembered")
	code, _ = call(restarted, http.MethodGet, "/v0/healthz", "")
	require.Equal(t, http.StatusServiceUnavailable, code, "and does nothing a second time")

	require.Equal(t, statusCompleted, post(t, restarted, `{"type":"mark-ready"}`)["status"])
	code, _ = call(restarted, http.MethodGet, "/v0/startupz", "")
	require.Equal(t, http.StatusOK, code, "a fresh id arms it")
}

func TestInterruptedTaskFailsAndRunsAgain(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	first := newServer(t, home, false)
	first.TaskTime = time.Hour
	body := `{"type":"mark-ready","id":"` + someID + `"}`
	code, _ := call(first, http.MethodPost, "/v0/tasks", body)
	require.Equal(t, http.StatusCreated, code)
	first.stop()

	second := newServer(t, home, false)
	_, task := call(second, http.MethodGet, "/v0/tasks/"+someID, "")
	require.Equal(t, statusFailed, task["status"])
	require.Equal(t, statusCompleted, post(t, second, body)["status"])
	require.True(t, second.ready.Load())
}

func TestConfigTasks(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	s := newServer(t, home, false)
	apply := func(key string) {
		task := post(t, s, `{"type":"config-apply","params":{"overrides":{"`+key+`":"1"},"peers":["a@b:1"]}}`)
		require.Equal(t, statusCompleted, task["status"])
	}
	validate := func() map[string]any { return post(t, s, `{"type":"config-validate"}`) }

	apply("good")
	require.FileExists(t, filepath.Join(home, "config", "applied.json"))
	require.Contains(t, validate()["error"], "config.toml", "seid init has not run")
	require.NoError(t, os.WriteFile(filepath.Join(home, "config", "config.toml"), nil, 0o600))
	require.Equal(t, statusCompleted, validate()["status"])
	apply("invalid")
	require.Contains(t, validate()["error"], "invalid")
}

func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("status-503", func(t *testing.T) {
		s := newServer(t, t.TempDir(), false, kinds.Status503)
		post(t, s, `{"type":"mark-ready"}`)
		code, _ := call(s, http.MethodGet, "/v0/healthz", "")
		require.Equal(t, http.StatusServiceUnavailable, code)
	})
	t.Run("status-401", func(t *testing.T) {
		s := newServer(t, t.TempDir(), true, kinds.Status401)
		code, _ := call(s, http.MethodGet, "/v0/status", "", "alice")
		require.Equal(t, http.StatusUnauthorized, code)
	})
	t.Run("refuse-mark-ready", func(t *testing.T) {
		s := newServer(t, t.TempDir(), false, kinds.RefuseMarkReady)
		code, _ := call(s, http.MethodPost, "/v0/tasks", `{"type":"mark-ready"}`)
		require.Equal(t, http.StatusInternalServerError, code)
	})
	t.Run("lose-task", func(t *testing.T) {
		s := newServer(t, t.TempDir(), false, kinds.LoseTask)
		code, _ := call(s, http.MethodPost, "/v0/tasks", `{"type":"mark-ready","id":"`+someID+`"}`)
		require.Equal(t, http.StatusCreated, code)
		code, _ = call(s, http.MethodGet, "/v0/tasks/"+someID, "")
		require.Equal(t, http.StatusNotFound, code)
		require.False(t, s.ready.Load())
	})
	t.Run("fail-task", func(t *testing.T) {
		s := newServer(t, t.TempDir(), false)
		fault := registry.Fault{Kind: kinds.FailTask, Params: []byte(`{"type":"config-apply","error":"disk on fire"}`)}
		s.Faults.Store(registry.State{Faults: []registry.Fault{fault}})
		task := post(t, s, `{"type":"config-apply"}`)
		require.Equal(t, statusFailed, task["status"])
		require.Equal(t, "disk on fire", task["error"])
		require.Equal(t, statusCompleted, post(t, s, `{"type":"mark-ready"}`)["status"])
	})
	t.Run("hang", func(t *testing.T) {
		s := newServer(t, t.TempDir(), false, kinds.Hang)
		answered := make(chan int)
		go func() {
			code, _ := call(s, http.MethodGet, "/v0/livez", "")
			answered <- code
		}()
		select {
		case code := <-answered:
			require.Fail(t, "answered", "code %d", code)
		default:
		}
		s.Faults.Store(registry.State{})
		require.Equal(t, http.StatusOK, <-answered)
	})
}
