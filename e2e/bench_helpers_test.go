//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

// reporter prints the figures of a benchmark.
func reporter(name string) func(format string, args ...any) {
	return func(format string, args ...any) { fmt.Fprintf(os.Stdout, name+": "+format+"\n", args...) }
}

// process is an operator on this machine.
type process struct{ *command }

func (s *S) benchOperator(args ...string) process {
	s.Helper()
	if len(args) == 0 {
		args = []string{"--metrics-bind-address=0"}
	}
	c := s.command(s.seictl, nil, append([]string{"operator", "run", "--health-probe-bind-address=0",
		"--as=" + benchUser, "--as-group=system:masters"}, args...)...).start()
	s.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return process{c}
}

// end stops an operator and waits for its end.
func (p process) end() {
	p.s.Helper()
	p.signal(syscall.SIGTERM)
	r := <-p.ended
	require.Zero(p.s, r.code, r.text())
}

// rss is the resident memory, in bytes; peak its highest.
func (p process) rss() int64  { p.s.Helper(); return p.status("VmRSS") }
func (p process) peak() int64 { p.s.Helper(); return p.status("VmHWM") }

func (p process) status(field string) int64 {
	p.s.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	require.NoError(p.s, err)
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			require.NoError(p.s, err)
			return kib << 10
		}
	}
	require.Fail(p.s, "no "+field)
	return 0
}

// cpu is the processor time used so far.
func (p process) cpu() time.Duration {
	p.s.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	require.NoError(p.s, err)
	_, rest, ok := strings.Cut(string(stat), ") ")
	require.True(p.s, ok)
	fields := strings.Fields(rest) // from field 3 on: 14 and 15 are utime and stime, in ticks of 10 ms
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		require.NoError(p.s, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// peakOf is the highest resident memory of a command that has ended, in bytes.
func peakOf(c *command) int64 {
	return c.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}

// podTimes has seid take three seconds to start and two to stop, on the sim tier, until the scenario ends.
func (s *S) podTimes() {
	s.Helper()
	if tier() != tierSim {
		s.Skip("made for the sim tier: LAB=sim")
	}
	set := func(start, stop string) {
		data, err := json.Marshal(map[string]string{"start": start, "stop": stop})
		require.NoError(s, err)
		req, err := http.NewRequestWithContext(background(), http.MethodPut, tierURL(9900, 19900, "/sim/settings"), bytes.NewReader(data))
		require.NoError(s, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(s, err)
		defer func() { _ = resp.Body.Close() }()
		require.Equal(s, http.StatusOK, resp.StatusCode)
	}
	set("3s", "2s")
	s.Cleanup(func() { set("0s", "0s") })
}

func benchName(i int) string { return fmt.Sprintf("n-%04d", i) }

// benchAtOnce is how many new nodes may be on their way at once: with more of them the lab's short deadlines end what a busy
// machine has not come round to.
const benchAtOnce = 100

// benchNodes creates nodes from..from+n-1 of a chain and waits until all of the scenario are Ready. Somebody else drives.
func (s *S) benchNodes(from, n int, chain string, edits ...func(*v1alpha1.SeiNode)) {
	s.Helper()
	turns := make(chan struct{}, benchAtOnce)
	var created sync.Map
	var wg sync.WaitGroup
	wg.Go(func() {
		edits := slices.Concat(edits, []func(*v1alpha1.SeiNode){func(o *v1alpha1.SeiNode) { o.Spec.ChainID = chain }})
		for i := from; i < from+n; i++ {
			select {
			case turns <- struct{}{}:
			case <-s.Context().Done():
				return
			}
			created.Store(benchName(i), true)
			if err := s.client.Create(s.Context(), s.manifest(benchName(i), edits...)); err != nil {
				s.Errorf("creating a node: %v", err)
			}
		}
	})
	s.awaitNodes(from+n, time.Duration(n)*time.Second+patience, func(o *v1alpha1.SeiNode) bool {
		if !isReady(o) {
			return false
		}
		if _, ours := created.LoadAndDelete(o.Name); ours {
			<-turns
		}
		return true
	})
	wg.Wait()
}
