//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/api/v1alpha1"
)

// Exit codes of seictl that scenarios expect.
const (
	done        = 0
	failure     = 1
	pending     = 2
	paused      = 3
	failed      = 4
	lockHeld    = 6
	timedOut    = 124
	interrupted = 130
	// killed stands for the end by SIGKILL.
	killed = -9
)

// result is how a command ended.
type result struct {
	s           *S
	line        string
	code        int
	out, errOut string
	took        time.Duration
}

// exits requires an exit code.
func (r result) exits(code int) result {
	r.s.Helper()
	require.Equal(r.s, code, r.code, "exit code of: %s\n%s", r.line, r.text())
	return r
}

// says requires that the output holds each of the texts, however its lines are wrapped.
func (r result) says(texts ...string) result {
	r.s.Helper()
	unwrapped := strings.Join(strings.Fields(r.text()), " ")
	for _, text := range texts {
		require.Contains(r.s, unwrapped, text, r.line)
	}
	return r
}

// oneLine requires that the error is told in one line.
func (r result) oneLine() result {
	r.s.Helper()
	require.Len(r.s, strings.Split(strings.TrimSpace(r.errOut), "\n"), 1, "one clear line: %s\n%s", r.line, r.errOut)
	require.Empty(r.s, r.out, "nothing on standard output: %s", r.line)
	return r
}

func (r result) text() string { return r.out + r.errOut }

// transcript is what a command has written so far.
type transcript struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write implements io.Writer.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buffer.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buffer.String()
}

// command is one seictl that runs, or will.
type command struct {
	s           *S
	cmd         *exec.Cmd
	line        string
	out, errOut transcript
	begun       time.Time
	ended       chan result
	// drives says that the command takes the drivers' lock, for which those of other scenarios wait in line.
	drives bool
	// args are its arguments, and promised what its preview shows.
	args     []string
	promised []*promise
}

// command prepares seictl with arguments and more environment.
func (s *S) command(bin string, environment []string, args ...string) *command {
	s.Helper()
	kubeconfig, own := s.kubeconfig, args
	if s.as != "" {
		args = append(args, "--as", s.as, "--as-group", "system:masters")
	}
	c := &command{s: s, line: "seictl " + strings.Join(args, " "), args: own, ended: make(chan result, 1)}
	if len(environment) > 0 {
		c.line = strings.Join(environment, " ") + " " + c.line
	}
	patience := 10 * time.Minute
	if os.Getenv("BENCH_NODES") != "" {
		patience = time.Hour // thousands of nodes
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.Cleanup(cancel)
	c.cmd = exec.CommandContext(ctx, bin, args...)
	home := s.TempDir()
	c.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + home, "KUBECONFIG=" + kubeconfig,
	}, environment...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.errOut
	c.drives = slices.Contains(args, lockPatience)
	return c
}

// start starts a command that goes on beside the scenario.
func (c *command) start() *command {
	c.s.Helper()
	c.promised = c.s.promised(c.args)
	if c.drives {
		c.s.driving.Lock()
	}
	c.begun = time.Now()
	err := c.cmd.Start()
	if err != nil && c.drives {
		c.s.driving.Unlock()
	}
	require.NoError(c.s, err)
	go func() {
		err := c.cmd.Wait()
		if c.drives {
			c.s.driving.Unlock()
		}
		r := result{s: c.s, line: c.line, out: c.out.String(), errOut: c.errOut.String(), took: time.Since(c.begun)}
		var exit *exec.ExitError
		switch {
		case err == nil:
		case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
			r.code = -int(exit.Sys().(syscall.WaitStatus).Signal())
		case errors.As(err, &exit):
			r.code = exit.ExitCode()
		default:
			r.code, r.errOut = -1, r.errOut+err.Error()
		}
		c.s.settle(c.args, c.promised, r.code)
		c.ended <- r
	}()
	return c
}

// wait waits for the end of a command.
func (c *command) wait() result {
	c.s.Helper()
	r := <-c.ended
	c.s.Logf("$ %s\n%s(exit %d after %.1fs)", r.line, r.text(), r.code, r.took.Seconds())
	return r
}

// told waits until a command that runs says something on standard error.
func (c *command) told(text string) {
	c.s.Helper()
	c.s.eventually("it is told: "+text, func() error {
		if so := c.errOut.String(); !strings.Contains(so, text) {
			return fmt.Errorf("%s: %s", c.line, so)
		}
		return nil
	})
}

// signal sends a signal to a command that runs.
func (c *command) signal(sig os.Signal) {
	c.s.Helper()
	require.NoError(c.s, c.cmd.Process.Signal(sig))
}

// run runs seictl to its end.
func (s *S) run(args ...string) result {
	s.Helper()
	return s.command(s.seictl, nil, args...).start().wait()
}

// write writes a manifest and returns its path.
func (s *S) write(n *v1alpha1.SeiNode) string {
	s.Helper()
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "SeiNode",
		"metadata": map[string]any{"name": n.Name, "namespace": n.Namespace, "labels": n.Labels, "annotations": n.Annotations},
		"spec":     n.Spec,
	})
	require.NoError(s, err)
	return s.file(n.Name+".yaml", string(data))
}

// file writes a file and returns its path.
func (s *S) file(name, content string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), name)
	require.NoError(s, os.WriteFile(path, []byte(content), 0o600))
	return path
}
