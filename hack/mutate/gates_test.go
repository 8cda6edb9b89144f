package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The engine moves on: every gate must still be where it is taken out, and scenarios must still have these names.
func TestGatesAreWhereTheyAreTakenOut(t *testing.T) {
	var tables string
	files, err := filepath.Glob("../../e2e/table_*_test.go")
	require.NoError(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		tables += string(data)
	}
	for _, g := range gates {
		t.Run(g.name, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join("../..", g.file))
			require.NoError(t, err)
			mutated, err := g.takenOut(string(source))
			require.NoError(t, err)
			require.NotEqual(t, string(source), mutated)
			for _, name := range g.scenarios {
				require.Contains(t, tables, `"`+name+`"`)
			}
		})
	}
	_, err = gates[0].takenOut("nothing of it")
	require.ErrorContains(t, err, "gates.go does not fit")
}
