package operator

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli/factory"
)

func newFactory() *factory.Factory {
	return factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, ErrOut: &bytes.Buffer{}})
}

func TestRunRefusesFlagsThatMakeNoSense(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		err  string
	}{
		"no workers":            {[]string{"--node-workers", "0"}, "--node-workers: found 0, wanted at least 1"},
		"a level":               {[]string{"--log-level", "loud"}, `--log-level: found "loud", wanted debug, info, warn or error`},
		"timeout of for ever":   {[]string{"--timeout", "1m"}, "go with --once"},
		"lock timeout for ever": {[]string{"--lock-timeout", "1m"}, "go with --once"},
		"an argument":           {[]string{"x"}, "unknown argument"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := NewCmdRun(newFactory(), nil)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs(tc.args)
			require.ErrorContains(t, cmd.ExecuteContext(t.Context()), tc.err)
		})
	}
}

func TestRunFlags(t *testing.T) {
	var got *RunOptions
	cmd := NewCmdRun(newFactory(), func(_ context.Context, o *RunOptions) error { got = o; return nil })
	cmd.SetArgs([]string{"--once", "--timeout", "30m", "--port-forward", "--node-workers", "4", "--kube-api-qps", "20"})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	require.True(t, got.Once)
	require.True(t, got.PortForward)
	require.Equal(t, 30*time.Minute, got.Timeout)
	require.Equal(t, 4, got.NodeWorkers)
	require.Equal(t, 2, got.DeploymentWorkers)
	require.InDelta(t, 20, got.QPS, 0)
	require.Equal(t, ":8443", got.MetricsAddress)
}
