package resources_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/pkg/resources"
)

// shell is a machine on which nothing but bash and a fake seid exist, like a chain image that carries no more.
type shell struct {
	bash, bin, home string
	env             []string
}

// fakeSeid prints its arguments, and can be told to die half-way through init like a killed one.
const fakeSeid = `#!%s
echo "seid $*"
if [[ "$1" == init ]]; then
  [[ -d "$HOME/config" ]] || exit 9
  echo toml > "$HOME/config/config.toml"
  [[ -z "${SEID_DIES:-}" ]] || kill -9 $$
fi
`

func newShell(t *testing.T) *shell {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	s := &shell{bash: bash, bin: t.TempDir(), home: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(s.bin, "seid"), fmt.Appendf(nil, fakeSeid, bash), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(s.home, "config"), 0o755))
	s.env = []string{"PATH=" + s.bin, "HOME=" + s.home, "SEI_CHAIN_ID=arctic-1", "SEI_NODE_NAME=archive-0"}
	return s
}

func (s *shell) command(ctx context.Context, command []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.bash, command[1:]...)
	cmd.Env = s.env
	return cmd
}

func seidContainer() corev1.Container { return statefulSet(nil).Spec.Template.Spec.Containers[0] }

func port(t *testing.T, address string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return p
}

// sidecarServer answers what healthz holds, and reports every question on asked.
func sidecarServer(t *testing.T, healthz *atomic.Int32) (address string, asked <-chan struct{}) {
	t.Helper()
	questions := make(chan struct{}, 1024)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v0/healthz" {
			w.WriteHeader(int(healthz.Load()))
			questions <- struct{}{}
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), questions
}

func TestGateWaitsForMarkReady(t *testing.T) {
	s := newShell(t)
	var healthz atomic.Int32
	healthz.Store(http.StatusServiceUnavailable)
	address, asked := sidecarServer(t, &healthz)
	s.env = append(s.env, "SEI_SIDECAR_PORT="+port(t, address))
	cmd := s.command(t.Context(), seidContainer().Command)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "waiting for the sidecar")
	for range 3 {
		<-asked
	}
	healthz.Store(http.StatusOK)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "starting", "nothing was started before")
	require.True(t, lines.Scan())
	require.Equal(t, "seid start --home "+s.home, lines.Text())
	require.NoError(t, cmd.Wait())
}

// A parked pod must go at once: as PID 1 bash would ignore SIGTERM.
func TestGateEndsAtSIGTERM(t *testing.T) {
	s := newShell(t)
	var healthz atomic.Int32
	healthz.Store(http.StatusServiceUnavailable)
	address, asked := sidecarServer(t, &healthz)
	s.env = append(s.env, "SEI_SIDECAR_PORT="+port(t, address))
	cmd := s.command(t.Context(), seidContainer().Command)
	require.NoError(t, cmd.Start())
	<-asked
	start := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	require.Equal(t, 143, cmd.ProcessState.ExitCode())
	require.Less(t, time.Since(start), 3*time.Second)
}

// Neither a closed port, nor a sidecar that hangs up without an answer, ends the gate or opens it.
func TestGateSurvivesABrokenSidecar(t *testing.T) {
	s := newShell(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	hungUp := make(chan struct{}, 1024)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				close(hungUp)
				return
			}
			// Zero makes the close a reset, on which a write raises SIGPIPE.
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			hungUp <- struct{}{}
		}
	}()
	s.env = append(s.env, "SEI_SIDECAR_PORT="+port(t, listener.Addr().String()))
	cmd := s.command(t.Context(), seidContainer().Command)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for range 5 {
		<-hungUp
	}
	require.NoError(t, listener.Close()) // from here the port is closed
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	text, err := io.ReadAll(out)
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	require.Equal(t, 143, cmd.ProcessState.ExitCode(), "it lived until the signal")
	require.NotContains(t, string(text), "starting")
}

func TestGateKnowsTheStatusLine(t *testing.T) {
	for answer, opens := range map[string]bool{
		"HTTP/1.1 200 OK\r\n\r\n":          true,
		"HTTP/1.0 200 OK\r\n\r\n":          true,
		"HTTP/1.1 503 not 200 yet\r\n\r\n": false,
		"200\r\n":                          false,
		"garbage":                          false,
	} {
		t.Run(strings.TrimSpace(answer), func(t *testing.T) {
			s := newShell(t)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() })
			answered := make(chan struct{}, 1024)
			go func() {
				for {
					c, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = bufio.NewReader(c).ReadString('\n')
					_, _ = io.WriteString(c, answer)
					_ = c.Close()
					answered <- struct{}{}
				}
			}()
			s.env = append(s.env, "SEI_SIDECAR_PORT="+port(t, listener.Addr().String()))
			cmd := s.command(t.Context(), seidContainer().Command)
			require.NoError(t, cmd.Start())
			<-answered
			if opens {
				require.NoError(t, cmd.Wait())
				return
			}
			<-answered // it came back to ask again
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
		})
	}
}

func TestReadinessProbe(t *testing.T) {
	for name, c := range map[string]struct {
		body  string
		ready bool
	}{
		"in sync":            {`{"result":{"sync_info":{"latest_block_height":"12","catching_up":false}}}`, true},
		"in sync, formatted": {"{\n  \"sync_info\": {\n    \"catching_up\" : false\n  }\n}\n", true},
		"catching up":        {`{"result":{"sync_info":{"catching_up":true}}}`, false},
		"an error":           {`{"error":"catching_up false"}`, false},
		"nothing":            {``, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShell(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/status" {
					_, _ = io.WriteString(w, c.body)
				}
			}))
			t.Cleanup(server.Close)
			err := s.command(t.Context(), readiness(port(t, server.Listener.Addr().String()))).Run()
			if c.ready {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		})
	}
}

// readiness is the probe's command aimed at another port.
func readiness(port string) []string {
	command := seidContainer().ReadinessProbe.Exec.Command
	return []string{command[0], command[1], strings.ReplaceAll(command[2], fmt.Sprint(resources.PortRPC), port)}
}

func TestReadinessProbeOfAClosedPort(t *testing.T) {
	s := newShell(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	out, err := s.command(t.Context(), readiness(port(t, listener.Addr().String()))).Output()
	require.Error(t, err)
	require.Equal(t, "the RPC port is closed\n", string(out))
}

func TestInitRunsOnce(t *testing.T) {
	s := newShell(t)
	command := initContainer(t, statefulSet(nil), resources.ContainerSeidInit).Command
	out, err := s.command(t.Context(), command).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "seid init archive-0 --chain-id arctic-1 --home "+s.home+"\n")

	out, err = s.command(t.Context(), command).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "seid init", "a second init would replace the node's keys")
}

// An imported home was initialised by somebody else: there is no marker, and it is left alone.
func TestInitLeavesAnImportedHomeAlone(t *testing.T) {
	s := newShell(t)
	require.NoError(t, os.WriteFile(filepath.Join(s.home, "config", "config.toml"), []byte("theirs"), 0o600))
	out, err := s.command(t.Context(), initContainer(t, statefulSet(nil), resources.ContainerSeidInit).Command).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "seid init a")
	left, err := os.ReadFile(filepath.Join(s.home, "config", "config.toml"))
	require.NoError(t, err)
	require.Equal(t, "theirs", string(left))
}

// config.toml is there before seid init is done: one that was killed has to run again.
func TestInitRunsAgainAfterAKill(t *testing.T) {
	s := newShell(t)
	command := initContainer(t, statefulSet(nil), resources.ContainerSeidInit).Command
	killed := s.command(t.Context(), command)
	killed.Env = append(killed.Env, "SEID_DIES=1")
	require.Error(t, killed.Run())
	require.FileExists(t, filepath.Join(s.home, "config", "config.toml"))

	out, err := s.command(t.Context(), command).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--overwrite")
	out, err = s.command(t.Context(), command).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "--overwrite", "done is done")
}

func TestInitFailsWhenSeidFails(t *testing.T) {
	s := newShell(t)
	require.NoError(t, os.Remove(filepath.Join(s.home, "config")))
	require.Error(t, s.command(t.Context(), initContainer(t, statefulSet(nil), resources.ContainerSeidInit).Command).Run())
}

// kubelet expands $(NAME) in commands before the shell sees them.
func TestScriptsAreNotExpandedByKubelet(t *testing.T) {
	pod := statefulSet(issuer("x")).Spec.Template.Spec
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		require.NotContains(t, strings.Join(append(c.Command, c.Args...), " "), "$(", c.Name)
	}
}
