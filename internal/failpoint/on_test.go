//go:build failpoints

package failpoint

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]struct {
		name string
		n    int64
	}{
		"":                     {"", 1},
		"after/replace-pod":    {"after/replace-pod", 1},
		"after/replace-pod:3":  {"after/replace-pod", 3},
		"after/replace-pod:0":  {"after/replace-pod:0", 1},
		"after:replace-pod":    {"after:replace-pod", 1},
		"before/mark-ready:12": {"before/mark-ready", 12},
	} {
		name, n := parse(in)
		require.Equal(t, want.name, name, in)
		require.Equal(t, want.n, n, in)
	}
}

func TestHitKills(t *testing.T) {
	if os.Getenv("FAILPOINT_CHILD") != "" {
		Hit("other")
		Hit("here")
		_, _ = os.Stdout.WriteString("first hit passed")
		Hit("here")
		_, _ = os.Stdout.WriteString("second hit passed")
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHitKills$")
	cmd.Env = append(os.Environ(), "FAILPOINT_CHILD=1", Variable+"=here:2")
	out, err := cmd.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
	require.Contains(t, string(out), "first hit passed")
	require.NotContains(t, string(out), "second hit passed")
}

func TestHitStopsUntilContinued(t *testing.T) {
	if os.Getenv("FAILPOINT_CHILD") != "" {
		Hit("here")
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHitStopsUntilContinued$")
	cmd.Env = append(os.Environ(), "FAILPOINT_CHILD=1", Variable+"=here", StopVariable+"=1")
	require.NoError(t, cmd.Start())
	var status syscall.WaitStatus
	_, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped(), "%v", status)
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.NoError(t, cmd.Wait())
}
