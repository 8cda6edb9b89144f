//go:build e2e

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// fleetEvent is one line of `seictl fleet … -o json`.
type fleetEvent struct {
	Version, Type, Wave, Node, Outcome, State, Detail string
	Time                                              time.Time
	ExitCode                                          *int
	Counts                                            map[string]int
}

// events are the lines of the stream: the first has the version, the last is the end.
func (r result) events() (events []fleetEvent) {
	r.s.Helper()
	for line := range strings.Lines(r.out) {
		var e fleetEvent
		require.NoError(r.s, json.Unmarshal([]byte(line), &e), line)
		events = append(events, e)
	}
	require.NotEmpty(r.s, events, r.line)
	require.Equal(r.s, "seictl.sei.io/fleet-events/v1", events[0].Version)
	end := events[len(events)-1]
	require.Equal(r.s, "end", end.Type)
	require.NotNil(r.s, end.ExitCode)
	require.Equal(r.s, r.code, *end.ExitCode)
	return events
}

// at is when an event was told.
func at(s *S, events []fleetEvent, what string, is func(fleetEvent) bool) time.Time {
	s.Helper()
	i := slices.IndexFunc(events, is)
	require.GreaterOrEqual(s, i, 0, "no event: %s, of %+v", what, events)
	return events[i].Time
}

func fleetFlags(s *S) {
	label := func(n *v1alpha1.SeiNode) { n.Labels = map[string]string{"fleet": "first"} }
	s.bear(s.manifest("ax-0", label), s.manifest("ax-1", label),
		s.manifest("ar-0", label, func(n *v1alpha1.SeiNode) {
			n.Labels["tier"] = "slow"
			n.Spec.FullNode, n.Spec.Archive = nil, &v1alpha1.ArchiveSpec{}
		}),
		s.manifest("rp-0", label, func(n *v1alpha1.SeiNode) { n.Spec.FullNode, n.Spec.Replayer = nil, &v1alpha1.ReplayerSpec{} }),
		s.manifest("va-0", func(n *v1alpha1.SeiNode) { n.Spec.FullNode, n.Spec.Validator = nil, &v1alpha1.ValidatorSpec{} }))
	s.drive(s.chain)
	s.forgetRollouts()
	ax0, ax1, ar0, rp0, va0 := &Node{s, "ax-0"}, &Node{s, "ax-1"}, &Node{s, "ar-0"}, &Node{s, "rp-0"}, &Node{s, "va-0"}

	s.eventually("the nodes are settled", func() error { return same("", s.unsettled()) })
	objects := s.versions()
	s.rollOut("enable-tls", "--issuer", issuerA, "--dry-run").exits(done).says("wave 1", "4 to change")
	require.Equal(s, objects, s.versions(), "--dry-run writes nothing")
	require.Empty(s, s.records(), "not even a record")

	const bake = 3 * time.Second
	s.untouched([]*Node{rp0, va0}, func() {
		s.onceEach([]*Node{ax0, ax1, ar0}, func() {
			r := s.rollOut("enable-tls", "--issuer", issuerA, "-l", "fleet=first", "--mode", "fullNode,archive", "--canary", "2", "--bake", bake.String(),
				"-o", "json").exits(done)
			events := r.events()
			baking := at(s, events, "the canaries are watched", func(e fleetEvent) bool { return strings.Contains(e.Detail, "they are watched until") })
			last := at(s, events, "the first wave starts", func(e fleetEvent) bool { return e.Type == "wave" && e.Wave == "wave 1" })
			require.GreaterOrEqual(s, last.Sub(baking), bake-time.Second, "the bake")
			for _, canary := range []string{"ax-0", "ax-1"} {
				when := at(s, events, canary+" is done", func(e fleetEvent) bool { return e.Node == s.ns+"/"+canary && e.Outcome == "done" })
				require.False(s, when.After(baking), "both canaries pass their gates before the bake")
			}
		})
	})

	// Another issuer for all, the validator as well: there is a moment for the time to run out in.
	s.rollOut("enable-tls", "--issuer", issuerB, "--include-validators", "--timeout", "4s").exits(timedOut).says("seictl fleet resume --chain " + s.chain)
	va0.cycles(1, func() { s.rollOut("resume").exits(done) })
	s.foreseen()
	record := s.rollout().Rollout
	require.Equal(s, "va-0", record.Nodes[len(record.Nodes)-1].Name, "validators are last")
	for _, n := range record.Nodes[:len(record.Nodes)-1] {
		require.Less(s, n.Wave, record.Nodes[len(record.Nodes)-1].Wave, n.Name)
	}
	for _, n := range []*Node{ax0, ax1, ar0, rp0, va0} {
		n.requireTLS("ClusterIssuer/" + issuerB)
	}
	s.untouched([]*Node{ax0, ax1, rp0, va0}, func() {
		s.onceEach([]*Node{ar0}, func() { s.rollOut("disable-tls", "-l", "tier=slow").exits(done) })
	})
	ar0.requireNoTLSLeft()
}

// unsettled names a pod of the scenario whose StatefulSet is still being counted.
func (s *S) unsettled() string {
	s.Helper()
	var nodes v1alpha1.SeiNodeList
	require.NoError(s, s.client.List(s.Context(), &nodes, client.InNamespace(s.ns)))
	for i := range nodes.Items {
		n := &Node{s: s, name: nodes.Items[i].Name}
		if st := n.statefulSet().Status; st.AvailableReplicas != 1 || st.ReadyReplicas != 1 {
			return n.name
		}
	}
	return ""
}

// records are the names of the records of the chain's rollouts.
func (s *S) records() (names []string) {
	s.Helper()
	var list corev1.ConfigMapList
	require.NoError(s, s.client.List(s.Context(), &list, client.InNamespace("sei-system"), client.MatchingLabels{"seictl.sei.io/chain": s.chain}))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

func fleetFailures(s *S) {
	nodes := s.fleet(4, 0)
	nodes[1].fault(seid, "stuck-height", nil)
	nodes[2].fault(seid, "stuck-height", nil)
	gate := []string{"--gate-timeout", "6s"}
	// One may fail, and two do: the last one's turn does not come.
	s.untouched(nodes[3:], func() {
		s.onceEach(nodes[:3], func() {
			s.rollOut("enable-tls", append(gate, "--issuer", issuerA, "--max-failures", "1")...).exits(failed).
				says("the height of seid has not moved", "1 done, 2 failed, 1 pending")
		})
	})
	s.foreseen()
	nodes[3].cycles(1, func() {
		events := s.rollOut("enable-tls", append(gate, "--issuer", issuerB, "--on-failure", "continue", "-o", "json")...).exits(failed).events()
		require.Equal(s, map[string]int{"done": 2, "failed": 2}, events[len(events)-1].Counts)
	})
	s.foreseen()
	nodes[3].requireTLS("ClusterIssuer/" + issuerB)
	nodes[1].heal(seid)
	nodes[2].heal(seid)
	s.untouched(nodes, func() { s.rollOut("enable-tls", "--issuer", issuerB).exits(done).says("nothing to do") })
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerB)
	}
}

func fleetCatchingUp(s *S) {
	nodes := s.fleet(2, 0)
	s.untouched(nodes[1:], func() {
		first := s.rollingOut("enable-tls", "--issuer", issuerA, "--bake", "4s", "--gate-timeout", "10s")
		s.reached("ax-0", "done")
		nodes[0].fault(seid, "catching-up", nil)
		first.wait().exits(failed).says("canary "+s.ns+"/ax-0 failed", "catching up")
	})
	nodes[0].requireTLS("ClusterIssuer/" + issuerA)
	nodes[0].heal(seid)
	nodes[0].cycles(0, func() { s.rollOut("resume").exits(done) })
	nodes[1].requireTLS("ClusterIssuer/" + issuerA)
}

func fleetRevertedAfterSuccess(s *S) {
	nodes := s.fleet(2, 0)
	s.onceEach(nodes, func() { s.rollOut("enable-tls", "--issuer", issuerA).exits(done) })
	node := nodes[0].get()
	before := node.DeepCopy()
	node.Spec.Sidecar.TLS = nil
	require.NoError(s, s.client.Patch(s.Context(), node, client.MergeFrom(before), client.FieldOwner("argocd-controller")))
	for _, n := range nodes {
		n.cycles(0, func() { n.apply().exits(done) })
		n.requireTLS("ClusterIssuer/" + issuerA)
	}
	nodes[0].requireEvent(v1alpha1.ReasonRemovalNeedsConsent)
	nodes[0].requireCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	s.rollOut("plan", "--issuer", issuerA).exits(done).says("1 edit", "1 to change in 1 wave, no pod is restarted")
	nodes[0].cycles(0, func() { s.untouched(nodes[1:], func() { s.rollOut("enable-tls", "--issuer", issuerA).exits(done) }) })
	require.Equal(s, issuerA, nodes[0].get().SidecarTLS().IssuerName)
}
