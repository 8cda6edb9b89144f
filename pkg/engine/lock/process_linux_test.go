package lock

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childVar makes this test binary a driver: it takes the Lease at the URL in it, says so and holds on until it is killed.
const childVar = "SEICTL_LOCK_TEST_CHILD"

func TestMain(m *testing.M) {
	if url := os.Getenv(childVar); url != "" {
		if err := drive(url); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func drive(url string) error {
	// Renewing seldom: what stands in the Lease looks just as fresh to the others.
	l, err := NewForConfig(configFor(url), Self(KindCLI), Options{})
	if err != nil {
		return err
	}
	if _, err := l.Acquire(context.Background(), AcquireOptions{}); err != nil {
		return err
	}
	fmt.Println("held")
	_, err = io.Copy(io.Discard, os.Stdin) // so it ends with its parent
	return err
}

// startChild returns once the child holds the Lease.
func startChild(t *testing.T, url string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+url)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held", strings.TrimSpace(line))
	return cmd
}

func TestKilledProcessIsTakenOverAtOnce(t *testing.T) {
	for name, reap := range map[string]bool{"reaped": true, "a zombie": false} {
		t.Run(name, func(t *testing.T) {
			server, cfg := startLeases(t)
			child := startChild(t, cfg.Host)
			l := newLock(t, cfg, Self(KindCLI), Options{}) // 15 s, 10 s, 2 s
			seen, err := l.Peek(t.Context())
			require.NoError(t, err)
			require.Equal(t, child.Process.Pid, seen.Holder.PID)

			require.NoError(t, child.Process.Kill())
			if reap {
				_ = child.Wait()
			} else {
				awaitZombie(t, child.Process.Pid)
			}
			begun := time.Now()
			held, err := l.Acquire(t.Context(), AcquireOptions{})
			require.NoError(t, err)
			require.Less(t, time.Since(begun), time.Second)
			require.Equal(t, Self(KindCLI).String(), server.holder())
			require.NoError(t, held.Release(t.Context()))
		})
	}
}

func TestLiveProcessIsNotTakenOver(t *testing.T) {
	_, cfg := startLeases(t)
	child := startChild(t, cfg.Host)
	_, err := newLock(t, cfg, Self(KindCLI), Options{}).Acquire(t.Context(), AcquireOptions{})
	var other *HeldError
	require.ErrorAs(t, err, &other)
	require.Equal(t, child.Process.Pid, other.Holder.PID)
}

// A pid that was given to another process since is not the holder.
func TestReusedPIDIsNotTheHolder(t *testing.T) {
	server, cfg := startLeases(t)
	holder := Self(KindCLI)
	holder.StartTime--
	server.put(holder.String(), 15)
	begun := time.Now()
	held, err := newLock(t, cfg, Self(KindCLI), Options{}).Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err)
	require.Less(t, time.Since(begun), time.Second)
	require.NoError(t, held.Release(t.Context()))
}

// awaitZombie waits for the end of a killed process that nobody reaped.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, alive, err := lookUp(pid)
		return err == nil && !alive
	}, 10*time.Second, time.Millisecond)
}

func TestLookUpTellsTheLivingFromTheDead(t *testing.T) {
	start, alive, err := lookUp(os.Getpid())
	require.NoError(t, err)
	require.True(t, alive)
	require.NotZero(t, start)
	_, alive, err = lookUp(1 << 30)
	require.NoError(t, err)
	require.False(t, alive)
}
