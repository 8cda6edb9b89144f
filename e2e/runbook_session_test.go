//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// runbookBlock is a block of commands in a page, which a test can execute.
type runbookBlock struct {
	// fix says that it changes something.
	fix      bool
	commands string
}

var runbookBlocks = regexp.MustCompile("(?ms)^```sh runbook( fix)?\n(.*?)^```$")

// runbookPage reads the blocks of a page, in order.
func (s *S) runbookPage(alert string) (blocks []runbookBlock) {
	s.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "runbooks", alert+".md"))
	require.NoError(s, err)
	for _, found := range runbookBlocks.FindAllStringSubmatch(string(page), -1) {
		blocks = append(blocks, runbookBlock{fix: found[1] != "", commands: found[2]})
	}
	require.NotEmpty(s, blocks)
	return blocks
}

// session is the shell of somebody who follows a page: what one block sets, the next one has.
type session struct {
	s   *S
	dir string
	in  io.Writer
	out *bufio.Reader
	// blocks that were run.
	blocks int
}

// sessionPatience is how long somebody follows a page.
const sessionPatience = 10 * time.Minute

// session opens a shell with NAMESPACE and NODE set, as the index of the pages asks for.
func (s *S) session(n *Node) *session {
	s.Helper()
	c := &session{s: s, dir: s.TempDir()}
	bin := filepath.Join(c.dir, "bin")
	require.NoError(s, os.Mkdir(bin, 0o700))
	require.NoError(s, os.Symlink(s.seictl, filepath.Join(bin, "seictl")))
	lab, err := filepath.Abs("lab/lab.sh")
	require.NoError(s, err)
	kubectl := fmt.Sprintf("#!/bin/bash\nexec %q kubectl \"$@\"\n", lab)
	require.NoError(s, os.WriteFile(filepath.Join(bin, "kubectl"), []byte(kubectl), 0o700))

	ctx, cancel := context.WithTimeout(background(), sessionPatience)
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc")
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+s.kubeconfig, "XDG_CONFIG_HOME="+c.dir,
		"NAMESPACE="+s.ns, "NODE="+n.name)
	c.in, err = cmd.StdinPipe()
	require.NoError(s, err)
	out, err := cmd.StdoutPipe()
	require.NoError(s, err)
	c.out = bufio.NewReader(out)
	cmd.Stderr = cmd.Stdout
	require.NoError(s, cmd.Start())
	s.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	return c
}

// sessionMark ends the output of a block.
const sessionMark = "end of the block: "

// run executes a block and returns its output and exit code. A command in the middle that fails counts as well.
func (c *session) run(b runbookBlock) (text string, code int) {
	c.s.Helper()
	c.blocks++
	file := fmt.Sprintf("block-%d.sh", c.blocks)
	require.NoError(c.s, os.WriteFile(filepath.Join(c.dir, file), []byte(b.commands), 0o600))
	_, err := fmt.Fprintf(c.in, "failed=0; trap 'failed=$?' ERR; source ./%s </dev/null; trap - ERR; printf '\\n%s%%d\\n' \"$failed\"\n",
		file, sessionMark)
	require.NoError(c.s, err)
	var lines strings.Builder
	for {
		line, err := c.out.ReadString('\n')
		require.NoError(c.s, err, "the shell ended: %s", lines.String())
		if end, ok := strings.CutPrefix(line, sessionMark); ok {
			_, err := fmt.Sscan(end, &code)
			require.NoError(c.s, err)
			break
		}
		lines.WriteString(line)
	}
	c.s.Logf("$ %s\n%s(exit %d)", b.commands, lines.String(), code)
	return lines.String(), code
}
