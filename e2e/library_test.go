//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

// The example of the documentation, somebody else's controller around the engine, brings a node up and gives it TLS.
func TestEmbeddedEngine(t *testing.T) {
	s := newS(t, newEnv(t), "embed")
	bin := filepath.Join(t.TempDir(), "embed")
	out, err := exec.CommandContext(s.Context(), "go", "build", "-o", bin, "../examples/embed").CombinedOutput()
	require.NoError(s, err, string(out))

	s.driving.Lock()
	defer s.driving.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "--namespace", s.ns)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var log boundedLog
	cmd.Stderr = &log
	require.NoError(s, cmd.Start())
	defer func() {
		stop()
		if err := cmd.Wait(); err != nil {
			s.Logf("embed: %v\n%s", err, log.String())
		}
	}()
	n := &Node{s: s, name: "ax-0"}
	require.NoError(s, s.client.Create(s.Context(), s.manifest(n.name)))
	n.eventually("the node runs", func(o *v1alpha1.SeiNode) bool { return o.Status.Phase == v1alpha1.PhaseRunning })
	n.requireServing()
	n.setTLS(byIssuer(issuerA))
	n.eventually("TLS is served", func(o *v1alpha1.SeiNode) bool { return o.Status.CurrentSidecarTLS != nil && !o.Status.Plan.Active() })
	n.requireTLS("ClusterIssuer/" + issuerA)
}

// boundedLog keeps the beginning of what a process says.
type boundedLog struct{ data []byte }

func (l *boundedLog) Write(p []byte) (int, error) {
	l.data = append(l.data, p[:min(len(p), max(0, 16<<10-len(l.data)))]...)
	return len(p), nil
}

func (l *boundedLog) String() string { return string(l.data) }
