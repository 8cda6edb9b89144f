package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// headings of a runbook: a person at night must find them in every page.
var headings = []string{"## What it means", "## Who is affected", "## Diagnosis", "## Fix", "## Silence", "## Escalate"}

func TestEveryAlertHasARunbook(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile(filepath.Join("..", "docs", "runbooks", "README.md"))
	require.NoError(t, err)
	known := map[string]bool{"README": true}
	for _, r := range alerts(t) {
		known[r.Alert] = true
		path := "docs/runbooks/" + r.Alert + ".md"
		require.Equal(t, path, r.Annotations["runbook"])
		require.True(t, strings.HasSuffix(r.Annotations["runbook_url"], "/"+path), r.Annotations["runbook_url"])
		page, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
		require.NoError(t, err, "alert %s has no page", r.Alert)
		require.True(t, strings.HasPrefix(string(page), "# "+r.Alert+"\n"), "%s: wrong title", path)
		for _, h := range headings {
			require.Contains(t, string(page), "\n"+h+"\n", path)
		}
		require.Contains(t, string(page), "```sh runbook\n", "%s: no command that a test can run", path)
		require.Contains(t, string(index), "("+r.Alert+".md)", "the index lacks %s", r.Alert)
	}
	pages, err := filepath.Glob(filepath.Join("..", "docs", "runbooks", "*.md"))
	require.NoError(t, err)
	for _, p := range pages {
		name := strings.TrimSuffix(filepath.Base(p), ".md")
		require.True(t, known[name], "%s is the page of no alert", p)
	}
}

// commands of a runbook: fenced blocks that an end-to-end test executes, or that only the reader can.
var commands = regexp.MustCompile("(?s)```sh[^\\n]*\\n(.*?)```")

// A command that bash cannot read is no help at night, and none may ever force a pod away.
func TestRunbookCommandsAreSound(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join("..", "docs", "runbooks", "*.md"))
	require.NoError(t, err)
	for _, path := range pages {
		page, err := os.ReadFile(path)
		require.NoError(t, err)
		blocks := commands.FindAllStringSubmatch(string(page), -1)
		require.NotEmpty(t, blocks, path)
		for _, b := range blocks {
			require.NotContains(t, b[1], "--force", path)
			require.NotContains(t, b[1], "--grace-period", path)
			cmd := exec.CommandContext(t.Context(), "bash", "-n")
			cmd.Stdin = strings.NewReader(b[1])
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s: %s\n%s", path, out, b[1])
		}
	}
}
