//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"time"

	"github.com/stretchr/testify/require"
)

// faultRegistry is where the lab's stand-ins are told to misbehave; see e2e/lab/faults.
var faultRegistry = tierURL(9900, 19900, "/faults/")

// Containers of a node's pod.
const (
	proxy   = "kube-rbac-proxy"
	sidecar = "sei-sidecar"
	seid    = "seid"
)

// fault tells a container of the node to misbehave; see e2e/lab/standins/kinds.
func (n *Node) fault(container, kind string, params map[string]any) {
	n.s.Helper()
	path := n.s.ns + "/" + n.podName() + "/" + container
	n.s.registry(n.s.Context(), http.MethodPut, path+"/"+kind, map[string]any{"params": params})
	n.s.Cleanup(func() { n.s.registry(background(), http.MethodDelete, path, nil) })
}

// heal ends the misbehaviour of a container.
func (n *Node) heal(container string) {
	n.s.Helper()
	n.s.registry(n.s.Context(), http.MethodDelete, n.s.ns+"/"+n.podName()+"/"+container, nil)
}

func (s *S) registry(ctx context.Context, method, path string, body any) {
	s.Helper()
	data, err := json.Marshal(body)
	require.NoError(s, err)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, faultRegistry+path, bytes.NewReader(data))
	require.NoError(s, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(s, http.StatusOK, resp.StatusCode)
}

// lab runs a command of the lab, such as stop COMPONENT.
func (s *S) lab(args ...string) {
	s.Helper()
	out, err := exec.CommandContext(background(), "lab/lab.sh", args...).CombinedOutput()
	require.NoError(s, err, "lab %v: %s", args, out)
}

// stopped stops a component of the lab until the scenario ends or start is called.
func (s *S) stopped(component string) (start func()) {
	s.Helper()
	s.lab("stop", component)
	running := false
	start = func() {
		if !running {
			running = true
			s.lab("start", component)
		}
	}
	s.Cleanup(start)
	return start
}
