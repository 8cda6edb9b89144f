//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// report of `make bench`, in the file BENCH_JSON.
type benchReport struct {
	Machine    machine     `json:"machine"`
	Figures    []figure    `json:"figures"`
	Toggles    []toggled   `json:"toggles"`
	Benchmarks []benchmark `json:"benchmarks"`
}

// machine on which it was measured.
type machine struct {
	CPU       string `json:"cpu"`
	CPUs      int    `json:"cpus"`
	MemoryGiB int    `json:"memoryGiB"`
	OS        string `json:"os"`
	Go        string `json:"go"`
	// Load of the last minute when the toggles were over.
	Load string `json:"load"`
}

// figure is a median over the toggles.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Aim is what it is to be at most, and Polling what a polling controller needed on the same lab.
	Aim     float64 `json:"aim"`
	Polling float64 `json:"polling"`
	// Ratio is Polling to Value.
	Ratio float64 `json:"ratio"`
}

// benchmark is one Go benchmark.
type benchmark struct {
	Name        string  `json:"name"`
	Nanoseconds float64 `json:"nsPerOp"`
	Bytes       float64 `json:"bytesPerOp"`
	Allocs      float64 `json:"allocsPerOp"`
}

func summary(s *S, all []toggled) *benchReport {
	s.Helper()
	var overhead, wire, notReady, total []time.Duration
	var requests, patches []int
	for i := range all {
		overhead, wire = append(overhead, all[i].Overhead), append(wire, all[i].Wire)
		notReady, total = append(notReady, all[i].NotReady), append(total, all[i].Total)
		requests, patches = append(requests, len(all[i].Requests)), append(patches, all[i].Patches)
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r := &benchReport{Machine: thisMachine(s), Toggles: all, Figures: []figure{
		{Name: "overhead of a toggle", Value: ms(median(overhead)), Unit: "ms", Aim: 300, Polling: 5000},
		{Name: "requests of a toggle", Value: float64(median(requests)), Aim: 18, Polling: 24},
		{Name: "status patches of a toggle", Value: float64(median(patches)), Aim: 5, Polling: 8},
		{Name: "node not Ready", Value: ms(median(notReady)), Unit: "ms", Aim: 5000, Polling: 42000},
		{Name: "of the overhead: asking a sidecar that does not listen yet", Value: ms(median(wire)), Unit: "ms"},
		{Name: "whole toggle", Value: ms(median(total)), Unit: "ms"},
	}}
	for i := range r.Figures {
		if f := &r.Figures[i]; f.Value > 0 {
			f.Ratio = f.Polling / f.Value
		}
	}
	return r
}

func (r *benchReport) print(out io.Writer) {
	m := &r.Machine
	fmt.Fprintf(out, "%d toggles; %d CPUs (%s), %d GiB, %s, %s; load %s\n", len(r.Toggles), m.CPUs, m.CPU, m.MemoryGiB, m.OS, m.Go, m.Load)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEDIAN\tVALUE\tAIM\tPOLLING\tRATIO")
	for _, f := range r.Figures {
		if f.Aim == 0 {
			fmt.Fprintf(w, "%s\t%.0f %s\t\t\t\n", f.Name, f.Value, f.Unit)
			continue
		}
		fmt.Fprintf(w, "%s\t%.0f %s\t%.0f\t%.0f\t%.1fx\n", f.Name, f.Value, f.Unit, f.Aim, f.Polling, f.Ratio)
	}
	_ = w.Flush()
}

// goBenchmarks reads the output of go test -bench -benchmem.
func goBenchmarks(s *S, path string) (out []benchmark) {
	s.Helper()
	f, err := os.Open(path)
	require.NoError(s, err)
	defer func() { require.NoError(s, f.Close()) }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		b := benchmark{Name: fields[0]}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			require.NoError(s, err, lines.Text())
			switch fields[i+1] {
			case "ns/op":
				b.Nanoseconds = value
			case "B/op":
				b.Bytes = value
			case "allocs/op":
				b.Allocs = value
			}
		}
		out = append(out, b)
	}
	return out
}

func thisMachine(s *S) machine {
	s.Helper()
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	value := func(path, key, separator string) string {
		data, err := os.ReadFile(path)
		require.NoError(s, err)
		for line := range strings.Lines(string(data)) {
			if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == key {
				return strings.Trim(strings.TrimSpace(v), `"`)
			}
		}
		return ""
	}
	m.CPU, m.OS = value("/proc/cpuinfo", "model name", ":"), value("/etc/os-release", "PRETTY_NAME", "=")
	kib, err := strconv.Atoi(strings.TrimSuffix(value("/proc/meminfo", "MemTotal", ":"), " kB"))
	require.NoError(s, err)
	m.MemoryGiB = (kib + 1<<19) >> 20
	load, err := os.ReadFile("/proc/loadavg")
	require.NoError(s, err)
	m.Load, _, _ = strings.Cut(string(load), " ")
	return m
}
