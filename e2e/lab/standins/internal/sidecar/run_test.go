package sidecar

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/internal/faultreg"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// listening is a log that tells when the sidecar listens.
type listening chan struct{}

func (l listening) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("sidecar is listening")) {
		l <- struct{}{}
	}
	return len(line), nil
}

func TestRestartFaultEndsARunOncePerGeneration(t *testing.T) {
	reg, err := faultreg.Open(filepath.Join(t.TempDir(), "faults.json"))
	require.NoError(t, err)
	server := httptest.NewServer(reg.Handler())
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	t.Setenv("LAB_FAULTS_URL", server.URL)
	t.Setenv("POD_NAMESPACE", "ns")
	t.Setenv("POD_NAME", "node-0")
	t.Setenv("SEI_SIDECAR_HOME", t.TempDir())
	t.Setenv("SEI_SIDECAR_PORT", "0")
	t.Setenv("SEI_SIDECAR_AUTHN_MODE", "trusted-header")

	remote := &registry.Client{URL: server.URL, Namespace: "ns", Pod: "node-0", Container: container}
	for range 2 {
		up, ended := make(listening), make(chan error, 1)
		go func() { ended <- run(t.Context(), slog.New(slog.NewJSONHandler(up, nil))) }()
		<-up
		require.Empty(t, ended, "a run that is born with the fault lives")
		_, err := remote.Set(t.Context(), kinds.Restart, nil)
		require.NoError(t, err)
		require.ErrorIs(t, <-ended, errRestart)
	}
}
