package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDocumentationIsFresh(t *testing.T) {
	fresh, kept := t.TempDir(), filepath.Join("..", "..", "docs", "cli")
	home := t.TempDir()
	t.Setenv("HOME", home)
	require.NoError(t, generate(fresh))
	want, err := os.ReadDir(fresh)
	require.NoError(t, err)
	for _, e := range want {
		data, err := os.ReadFile(filepath.Join(fresh, e.Name()))
		require.NoError(t, err)
		have, err := os.ReadFile(filepath.Join(kept, e.Name()))
		require.NoError(t, err, "run make docs")
		require.Equal(t, string(data), string(have), "%s is stale: run make docs", e.Name())
		require.NotContains(t, string(data), home, "what the machine is like must not show")
	}
	have, err := filepath.Glob(filepath.Join(kept, "seictl*.md"))
	require.NoError(t, err)
	require.Len(t, have, len(want), "a page of a command that is gone: run make docs")
}

func TestPagesShowFlagsAndExamples(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli", "seictl_node_plan.md"))
	require.NoError(t, err)
	for _, text := range []string{"# seictl node plan", "`--out` string", "seictl node plan ax-0 -n fleet --tls"} {
		require.Contains(t, string(data), text)
	}
}
