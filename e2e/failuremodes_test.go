//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/failure-modes.md instead of comparing it")

const failureModesFile = "../docs/failure-modes.md"

// chapters are the tables in the order in which they are read.
var chapters = []struct {
	title     string
	scenarios []Scenario
}{
	{"When all goes well", toggles},
	{"Edits", edits},
	{"Certificates that do not come", issuances},
	{"Secrets", secrets},
	{"New pods that do not come up", rollbacks},
	{"Pods that others touch", pods},
	{"Sidecars and seid that misbehave", sidecars},
	{"What all nodes share", platforms},
	{"Drivers that die or meet", interruptions},
	{"Fleets", fleets},
	{"Bad input", badInputs},
	{"With the operator", operators},
}

// rows are the scenarios of all chapters.
func rows() (all []Scenario) {
	for _, c := range chapters {
		all = append(all, c.scenarios...)
	}
	return all
}

// The document is generated from the tables that the suite runs, so that it cannot say what is not tested:
// `make docs` writes it.
func TestFailureModesDocument(t *testing.T) {
	text := failureModes()
	if *update {
		require.NoError(t, os.WriteFile(failureModesFile, []byte(text), 0o600))
		return
	}
	have, err := os.ReadFile(failureModesFile)
	require.NoError(t, err)
	require.Equal(t, text, string(have), "stale: run 'make docs'")
}

func failureModes() string {
	var b strings.Builder
	b.WriteString("<!-- Generated from the scenarios in e2e/ by `make docs`; do not edit. -->\n\n# Failure modes\n\n" +
		"What happens to nodes in real life, what you see, and what to do. Each entry is a scenario of the end-to-end suite and\n" +
		"runs on a real cluster, those with the operator in a suite of their own:\n\n```console\n$ make e2e E2E_RUN=TestScenarios/issuer-missing\n" +
		"$ make e2e E2E_RUN=TestOperator/operator-enable\n```\n\n" +
		"`seictl node explain NAME` says which of these a node is in.\n")
	for _, c := range chapters {
		fmt.Fprintf(&b, "\n## %s\n", c.title)
		for _, sc := range c.scenarios {
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n- **What you see:** %s\n- **What to do:** %s\n", sc.Name, sc.Happens, sc.See, sc.Do)
			if len(sc.Catalogue) > 0 {
				fmt.Fprintf(&b, "- **Covers:** %s\n", entries(sc.Catalogue))
			}
		}
	}
	b.WriteString("\n## The catalogue\n\nHow rollouts go wrong in real fleets, and the scenarios that show what becomes of it here.\n\n" +
		"| | what goes wrong | scenarios |\n|---|---|---|\n")
	for i, what := range catalogue {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", i+1, what, covering(i+1))
	}
	return b.String()
}

// entries are the words of the catalogue.
func entries(numbers []int) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = catalogue[n-1]
	}
	return strings.Join(words, "; ")
}

// covering are links to the scenarios of an entry.
func covering(number int) string {
	var links []string
	for _, c := range chapters {
		for _, sc := range c.scenarios {
			for _, n := range sc.Catalogue {
				if n == number {
					links = append(links, fmt.Sprintf("[%s](#%s)", sc.Name, sc.Name))
				}
			}
		}
	}
	return strings.Join(links, ", ")
}

// No table is left out of the document: what counts is what the source has.
func TestChaptersHoldEveryScenario(t *testing.T) {
	written := map[string]bool{}
	for _, sc := range rows() {
		require.False(t, written[sc.Name], "two scenarios named %s", sc.Name)
		require.NotEmpty(t, sc.Happens, sc.Name)
		require.NotEmpty(t, sc.See, sc.Name)
		require.NotEmpty(t, sc.Do, sc.Name)
		written[sc.Name] = true
	}
	for _, name := range namesInTables(t) {
		require.True(t, written[name], "scenario %s is in no chapter", name)
		delete(written, name)
	}
	require.Empty(t, written, "in a chapter, and in no table of the source")
	require.Len(t, rows(), len(scenarios())+len(operators), "a chapter that nothing runs")
}

// namesInTables are the names of the rows in every variable of type []Scenario of this package.
func namesInTables(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, f := range files {
		source, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		require.NoError(t, err)
		ast.Inspect(source, func(n ast.Node) bool {
			table, ok := n.(*ast.CompositeLit)
			if !ok || !isTable(table) {
				return true
			}
			for _, row := range table.Elts {
				for _, field := range row.(*ast.CompositeLit).Elts {
					if kv := field.(*ast.KeyValueExpr); kv.Key.(*ast.Ident).Name == "Name" {
						name, err := strconv.Unquote(kv.Value.(*ast.BasicLit).Value)
						require.NoError(t, err)
						names = append(names, name)
					}
				}
			}
			return false
		})
	}
	require.NotEmpty(t, names)
	return names
}

func isTable(lit *ast.CompositeLit) bool {
	array, ok := lit.Type.(*ast.ArrayType)
	if !ok {
		return false
	}
	of, ok := array.Elt.(*ast.Ident)
	return ok && of.Name == "Scenario"
}
