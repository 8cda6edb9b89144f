//go:build e2e

package e2e

import (
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBenchScale brings up many nodes and turns TLS on on all of them; only when BENCH_NODES says how many. It is made for the
// sim tier: BENCH_NODES=1000.
func TestBenchScale(t *testing.T) {
	if os.Getenv("BENCH_NODES") == "" {
		t.Skip("BENCH_NODES is not set")
	}
	s := newS(t, newEnv(t), "bench")
	nodes, budget := number(s, "BENCH_NODES", 0), number(s, "BENCH_BUDGET", 50)
	report := reporter("bench-scale")
	s.chainBudget(budget)
	s.podTimes()
	op := s.benchOperator()
	begun := time.Now()
	s.benchNodes(0, nodes, s.chain)
	init := time.Since(begun)
	report("%d nodes initialised in %.1fs: %.0f a second; driver CPU %.1fs, RSS %d MiB", nodes, init.Seconds(),
		float64(nodes)/init.Seconds(), op.cpu().Seconds(), op.rss()>>20)
	cpu := op.cpu()
	took := s.toggle(0, nodes)
	report("TLS on %d nodes with a budget of %d in %.1fs: %.0f ms a node; driver CPU %.1fs, RSS %d MiB, at most %d MiB", nodes, budget,
		took.Seconds(), float64(took.Milliseconds())/float64(nodes), (op.cpu() - cpu).Seconds(), op.rss()>>20, op.peak()>>20)
}

// TestBenchFleet measures seictl fleet over three chains; only when BENCH_NODES says with how many nodes. It is made for the
// sim tier: BENCH_NODES=1000 BENCH_BUDGET=50.
func TestBenchFleet(t *testing.T) {
	if os.Getenv("BENCH_NODES") == "" {
		t.Skip("BENCH_NODES is not set")
	}
	s := newS(t, newEnv(t), "bench")
	nodes, budget := number(s, "BENCH_NODES", 0), number(s, "BENCH_BUDGET", 50)
	report := reporter("bench-fleet")
	// The chain that is rolled out has nearly all, one has a single node to compare with; the others must not matter.
	others := nodes / 10
	s.chainBudget(budget) // what is asked for counts only as far as the budget of the chain goes
	mine := nodes - 2*others - 1
	op := s.benchOperator()
	s.benchNodes(0, mine, s.chain)
	s.benchNodes(mine, others, s.chain+"-b")
	s.benchNodes(mine+others, others, s.chain+"-c")
	s.benchNodes(mine+2*others, 1, s.chain+"-one")
	op.end()
	s.podTimes()

	const user = "bench-fleet"
	run := func(args ...string) (*command, result) {
		c := s.command(s.seictl, nil, append(append([]string{"fleet"}, args...), "-n", s.ns, "--as="+user, "--as-group=system:masters")...).start()
		return c, c.wait()
	}
	c, r := run("plan", "--chain", s.chain, "--issuer", issuerA)
	r.exits(done)
	report("fleet plan over %d nodes: %.2fs, RSS at most %d MiB (aims: 3s, 250 MiB)", mine, r.took.Seconds(), peakOf(c)>>20)
	require.Less(s, r.took, 3*time.Second)
	require.Less(s, peakOf(c), int64(250<<20))

	enable := func(chain string) time.Duration {
		_, r := run("enable-tls", "--chain", chain, "--issuer", issuerA, "--yes", "--canary=0", "--max-unavailable", strconv.Itoa(budget))
		r.exits(done)
		return r.took
	}
	one := enable(s.chain + "-one")
	offset := s.auditSize()
	took := enable(s.chain)
	asked := 0
	for _, r := range s.requests(offset, user) {
		if r.Verb != "watch" && r.resource() != "coordination.k8s.io/leases" && r.resource() != "events.k8s.io/events" {
			asked++
		}
	}
	perNode := float64(asked) / float64(mine)
	limit := time.Duration(1.5 * math.Ceil(float64(mine)/float64(budget)) * float64(one))
	report("fleet enable-tls over %d nodes, %d at once: %.1fs; one node %.1fs; the limit is %.1fs", mine, budget, took.Seconds(),
		one.Seconds(), limit.Seconds())
	report("%.1f requests a node (aim: 30)", perNode)

	_, r = run("status", "--chain", s.chain)
	r.exits(done)
	report("fleet status: %.2fs (aim: 2s)", r.took.Seconds())
	require.LessOrEqual(s, perNode, 30.0)
	require.Less(s, r.took, 2*time.Second)
	require.Less(s, took, limit)
}
