//go:build e2e

package e2e

import (
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"
)

func fleetPausedFromElsewhere(s *S) {
	nodes := s.fleet(3, 0)
	s.onceEach(nodes, func() {
		first := s.rollingOut("enable-tls", "--issuer", issuerA)
		s.reached("ax-1", "started")
		s.rollOut("pause").exits(done).says("is paused")
		first.wait().exits(paused).says("seictl fleet resume --chain " + s.chain)
		require.Equal(s, int64(1), nodes[2].get().Generation, "not touched")
		require.Equal(s, "paused", s.rollout().Rollout.State)
		s.rollOut("resume").exits(done)
	})
}

func fleetAPIServerAway(s *S) {
	nodes := s.fleet(3, 0)
	s.onceEach(nodes, func() {
		first := s.rollingOut("enable-tls", "--issuer", issuerA)
		s.reached("ax-0", "done")
		s.withoutAPIServer()
		first.seenThrough([]int{done, failure, failed}, func() *command { return s.rollingOut("enable-tls", "--issuer", issuerA) })
	})
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerA)
		n.requireServing()
	}
	require.False(s, slices.ContainsFunc(s.rollout().Rollout.Nodes, func(n struct {
		Name, Outcome, Detail string
		Wave                  int
	}) bool {
		return n.Outcome != "done"
	}))
}

func fleetPausedInItsBake(s *S) {
	nodes := s.fleet(2, 0)
	nodes[0].cycles(1, func() {
		first := s.rollingOut("enable-tls", "--issuer", issuerA, "--bake", "1h")
		s.reached("ax-0", "done")
		s.rollOut("pause").exits(done).says("is paused")
		first.wait().exits(paused)
	})
	second := s.rollingOut("resume")
	s.eventually("the rollout is shown as running", func() error {
		if state := s.rollout().Rollout.State; state != "running" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	r := s.rollOut("pause").exits(done).says("is paused")
	require.NotContains(s, r.text(), "already")
	second.wait().exits(paused)
	require.Equal(s, int64(1), nodes[1].get().Generation, "not touched")
	s.rollOut("abort").exits(done)
}
