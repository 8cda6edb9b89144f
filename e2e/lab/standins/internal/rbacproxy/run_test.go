package rbacproxy

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/internal/faultreg"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

func TestCrashLoop(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"--secure-listen-address=127.0.0.1:0", "--upstream=http://127.0.0.1:1/"}, noEnvironment)
	require.NoError(t, err)
	client := faults.NewClient(nil)
	client.Source.Store(faults.NewSource(kinds.CrashLoop).Current())
	require.ErrorIs(t, serve(t.Context(), o, ownContainer(o), client, &fakeReviews{}, &fakeReviews{}), errCrash)
}

func TestMalformedUpdateEndsTheProxy(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	o, err := parseOptions([]string{
		"--secure-listen-address=127.0.0.1:0", "--upstream=http://127.0.0.1:1/", "--tls-reload-interval=1ms",
		"--tls-cert-file=" + p.cert, "--tls-private-key-file=" + p.key,
	}, noEnvironment)
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		ended <- serve(t.Context(), o, ownContainer(o), faults.NewClient(nil), &fakeReviews{}, &fakeReviews{})
	}()
	require.NoError(t, os.WriteFile(p.cert, []byte("not a certificate"), 0o600))
	require.Error(t, <-ended)
}

func TestFaultSetWhileRunning(t *testing.T) {
	t.Parallel()
	reg, err := faultreg.Open(filepath.Join(t.TempDir(), "faults.json"))
	require.NoError(t, err)
	server := httptest.NewServer(reg.Handler())
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	remote := &registry.Client{URL: server.URL, Namespace: "ns", Pod: "node-0", Container: container}
	o, err := parseOptions([]string{"--secure-listen-address=127.0.0.1:0", "--upstream=http://127.0.0.1:1/"}, noEnvironment)
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		ended <- serve(t.Context(), o, ownContainer(o), faults.NewClient(remote), &fakeReviews{}, &fakeReviews{})
	}()
	_, err = remote.Set(t.Context(), kinds.CrashLoop, nil)
	require.NoError(t, err)
	require.ErrorIs(t, <-ended, errCrash)
}
