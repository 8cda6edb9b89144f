package keep

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAProgramThatEndsIsStartedAgain(t *testing.T) {
	t.Parallel()
	starts := filepath.Join(t.TempDir(), "starts")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	// The third one stays until it is told to go.
	script := `trap 'echo bye >> "$0"; kill $!; exit 0' TERM; echo >> "$0"; [ $(wc -l < "$0") -lt 3 ] && exit 1; sleep 60 & wait`
	go func() { ended <- Run(ctx, []string{"sh", "-c", script, starts}, time.Millisecond, io.Discard) }()
	count := func(what string) int {
		data, err := os.ReadFile(starts)
		if err != nil {
			return 0
		}
		return bytes.Count(data, []byte(what))
	}
	require.Eventually(t, func() bool { return count("\n") == 3 }, time.Minute, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, 1, count("bye"), "it was asked to go, and waited for")
}

func TestAProgramThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, Run(t.Context(), []string{"no-such-program"}, 0, io.Discard), "no-such-program")
}
