//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// results of the scenarios that ran, for the table at the end.
var results struct {
	sync.Mutex
	rows []resultRow
}

const skipped = "skipped"

type resultRow struct {
	scenario Scenario
	result   string
	took     time.Duration
}

func TestMain(m *testing.M) {
	flag.Parse()
	parallel := os.Getenv("E2E_PARALLEL")
	if parallel == "" {
		parallel = "4"
	}
	// Scenarios mostly wait: how many run at once has nothing to do with the number of processors.
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, "E2E_PARALLEL:", err)
		os.Exit(2)
	}
	code := m.Run()
	printResults()
	os.Exit(code)
}

// record keeps what became of a scenario.
func record(t *testing.T, s Scenario, took time.Duration) {
	result := "ok"
	switch {
	case t.Failed():
		result = "FAILED"
	case t.Skipped():
		result = skipped
	}
	results.Lock()
	defer results.Unlock()
	results.rows = append(results.rows, resultRow{scenario: s, result: result, took: took})
}

func printResults() {
	results.Lock()
	defer results.Unlock()
	if len(results.rows) == 0 {
		return
	}
	sort.Slice(results.rows, func(i, j int) bool { return results.rows[i].scenario.Name < results.rows[j].scenario.Name })
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCENARIO\tCATALOGUE\tWHERE\tRESULT\tSECONDS")
	for _, r := range results.rows {
		where := tier()
		if r.result == skipped {
			where = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f", r.scenario.Name, numbers(r.scenario.Catalogue), where, r.result, r.took.Seconds())
		if r.result == skipped && r.scenario.Kubelet != "" {
			fmt.Fprint(w, "\tneeds the real tier: ", r.scenario.Kubelet)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "printing the results:", err)
	}
}

func numbers(n []int) string {
	parts := make([]string, len(n))
	for i, v := range n {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}
