package tasks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

// fakeSidecar is the sidecar's API, with what tests make it do.
type fakeSidecar struct {
	mu sync.Mutex
	// ready answers 200 on healthz; health overrides it.
	ready  bool
	health int
	// tasks by id, with their status.
	tasks map[string]sidecar.Task
	// posted ids, in order.
	posted []string
	bodies []map[string]any
	// postCode and statusCode answer POST /v0/tasks and GET /v0/status.
	postCode, statusCode int
	// hangUp breaks the connection instead of answering a POST, after the task was taken.
	hangUp bool
	// result is the status that a posted task has at once; completed when empty.
	result string
}

func (f *fakeSidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.URL.Path == "/v0/healthz":
		code := http.StatusServiceUnavailable
		if f.ready {
			code = http.StatusOK
		}
		if f.health != 0 {
			code = f.health
		}
		w.WriteHeader(code)
	case r.URL.Path == "/v0/status":
		w.WriteHeader(max(f.statusCode, http.StatusOK))
	case r.Method == http.MethodPost:
		f.post(w, r)
	default:
		task, ok := f.tasks[strings.TrimPrefix(r.URL.Path, "/v0/tasks/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(task)
	}
}

func (f *fakeSidecar) post(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	if f.postCode != 0 {
		w.WriteHeader(f.postCode)
		fmt.Fprint(w, `{"error":"no"}`)
		return
	}
	id := body["id"].(string)
	f.posted, f.bodies = append(f.posted, id), append(f.bodies, body)
	if f.tasks == nil {
		f.tasks = map[string]sidecar.Task{}
	}
	task := sidecar.Task{ID: id, Type: body["type"].(string), Status: sidecar.TaskCompleted}
	if f.result != "" {
		task.Status, task.Error = f.result, "it did not work"
	}
	f.tasks[id] = task
	if task.Type == "mark-ready" && task.Status == sidecar.TaskCompleted {
		f.ready = true
	}
	if f.hangUp {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// ports dials the listeners of a test by the port that they stand for; every other port is closed.
type ports map[int32]string

func (p ports) DialPod(ctx context.Context, namespace, pod, ip string, port int32) (net.Conn, error) {
	if namespace != testNamespace || pod != "alpha-0" || ip == "" {
		return nil, fmt.Errorf("no such pod: %s/%s at %q", namespace, pod, ip)
	}
	address, ok := p[port]
	if !ok {
		return nil, fmt.Errorf("dialing: %w", sidecar.ErrPortClosed)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

type staticToken string

func (s staticToken) Token(context.Context) (string, error) { return string(s), nil }

// plainSidecar serves the API on the sidecar's own port.
func plainSidecar(t *testing.T, env *Env, f http.Handler) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	connect(env, ports{resources.PortSidecar: server.Listener.Addr().String()})
}

// tlsSidecar serves the API with a certificate on the proxy's port.
func tlsSidecar(t *testing.T, env *Env, f http.Handler, cert tls.Certificate) {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	connect(env, ports{resources.PortProxy: server.Listener.Addr().String()})
}

func connect(env *Env, p ports) {
	env.Sidecar = &sidecar.Connector{Dialer: p, Tokens: staticToken("token")}
}

func requireWaits(t *testing.T, r Result, err error, message string) {
	t.Helper()
	require.NoError(t, err)
	require.Equal(t, Waiting, r.Phase)
	require.Contains(t, r.Message, message)
}
