//go:build e2e

package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
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
	code, warned := run(m)
	printResults()
	if code == 0 && strings.Contains(warned, "no tests to run") {
		fmt.Fprintf(os.Stderr, "%s matches no test, so nothing was tested; next: go test -tags e2e -list . ./e2e (in an argument of make, $ is written $$)\n",
			filter())
		code = 1
	}
	os.Exit(code)
}

// run runs the tests, and returns what the testing package wrote to standard error: it only warns of a filter that leaves none.
func run(m *testing.M) (code int, warned string) {
	r, w, err := os.Pipe()
	if err != nil {
		fmt.Fprintln(os.Stderr, "opening a pipe:", err)
		return 2, ""
	}
	stderr, copied := os.Stderr, make(chan struct{})
	var text bytes.Buffer
	go func() {
		defer close(copied)
		_, _ = io.Copy(io.MultiWriter(stderr, &text), r)
	}()
	os.Stderr = w
	code = m.Run()
	os.Stderr = stderr
	_ = w.Close()
	<-copied
	return code, text.String()
}

// filter is the one that the tests were chosen by, as it was given.
func filter() string {
	text := "-run " + flag.Lookup("test.run").Value.String()
	if skip := flag.Lookup("test.skip").Value.String(); skip != "" {
		text += " -skip " + skip
	}
	return text
}

// requireRows fails a table of which the filter left no row: a typing error must not pass for success.
func requireRows(t *testing.T, ran int) {
	t.Helper()
	require.Positive(t, ran, "%s matches no scenario of %s, so nothing was tested; docs/failure-modes.md has their names", filter(), t.Name())
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
