//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"os"
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
	{"What all nodes share", platforms},
	{"Drivers that die or meet", interruptions},
	{"Fleets", fleets},
	{"Bad input", badInputs},
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
		"runs on a real cluster:\n\n```console\n$ make e2e E2E_RUN='^TestScenarios$/^(issuer-missing)$'\n```\n\n" +
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

// No table is left out of the document.
func TestChaptersHoldEveryScenario(t *testing.T) {
	total := 0
	for _, c := range chapters {
		total += len(c.scenarios)
	}
	require.Len(t, scenarios(), total)
}
