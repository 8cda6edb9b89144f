package ui

import (
	"bytes"
	"strings"
	"testing"

	"github.com/charmbracelet/lipgloss"
	"github.com/stretchr/testify/require"
)

var rows = [][]string{
	{"fleet", "ax-0", "registry.example/a/very/long/path/of/an/image/seid:v1", "registry.example/a/very/long/path/of/an/image/seid:v2"},
	{"fleet", "ax-10", "-", "x"},
}

func table(width int, tty bool, header []string) []string {
	var b bytes.Buffer
	p := NewPrinter(&b, false, width)
	p.Fit = tty
	p.Table("  ", header, rows)
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func TestTableFitsTheTerminal(t *testing.T) {
	header := []string{"NAMESPACE", "NAME", "FROM", "TO"}
	require.Equal(t, []string{
		"  NAMESPACE  NAME   FROM                           TO",
		"  fleet      ax-0   registry.example/a/very/long…  registry.example/a/very/long…",
		"  fleet      ax-10  -                              x",
	}, table(80, true, header))
	for _, line := range table(80, true, header) {
		require.LessOrEqual(t, lipgloss.Width(line), 80)
	}
	for _, line := range table(200, true, header) {
		require.NotContains(t, line, "…")
	}
	// Whoever pipes it gets all of it.
	require.Contains(t, table(80, false, header)[1], "seid:v1  registry")
}

// A terminal can be as narrow as it likes.
func TestTableOfANarrowTerminal(t *testing.T) {
	for width := 1; width < 60; width++ {
		require.Len(t, table(width, true, []string{"NAMESPACE-OF-THE-NODE", "NAME", "FROM", "TO"}), 3)
	}
}

func TestTableWithoutAHeaderIsWrapped(t *testing.T) {
	var b bytes.Buffer
	p := NewPrinter(&b, false, 40)
	p.Fit = true
	p.Table("", nil, [][]string{{"a", "one two three four five six seven eight nine ten"}})
	require.Equal(t, "a  one two three four five six seven\n   eight nine ten\n", b.String())
}

func TestUseColor(t *testing.T) {
	for _, c := range []struct {
		mode    string
		tty, no bool
		want    bool
	}{
		{ColorAuto, true, false, true}, {ColorAuto, true, true, false}, {ColorAuto, false, false, false},
		{ColorAlways, false, true, true}, {ColorNever, true, false, false},
	} {
		require.Equal(t, c.want, UseColor(c.mode, c.tty, c.no), c)
	}
}
