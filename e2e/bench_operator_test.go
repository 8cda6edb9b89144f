//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// benchUser is who the operator is in the audit log.
const benchUser = "bench-operator"

// TestBenchOperator measures the operator; only when BENCH_NODES says with how many nodes. It is made for the sim tier of the
// lab: BENCH_NODES=2000 BENCH_TOGGLE=200 BENCH_BUDGET=20.
func TestBenchOperator(t *testing.T) {
	if os.Getenv("BENCH_NODES") == "" {
		t.Skip("BENCH_NODES is not set")
	}
	s := newS(t, newEnv(t), "bench")
	nodes, toggled, budget := number(s, "BENCH_NODES", 0), number(s, "BENCH_TOGGLE", 200), number(s, "BENCH_BUDGET", 20)
	quiet := time.Duration(number(s, "BENCH_QUIET", 120)) * time.Second
	s.chainBudget(budget)
	op := s.benchOperator()
	s.benchNodes(0, nodes, s.chain)
	s.podTimes()
	report := reporter("bench-operator")

	s.awaitSilence(benchUser)
	offset := s.auditSize()
	s.pass(quiet)
	var asked []string
	for _, r := range s.requests(offset, benchUser) {
		if r.resource() != "coordination.k8s.io/leases" && r.Verb != "watch" {
			asked = append(asked, r.Verb+" "+r.RequestURI)
		}
	}
	rss := op.rss()
	report("%d settled nodes, %s: %d requests besides watches and the Lease; RSS %d MiB", nodes, quiet, len(asked), rss>>20)
	require.Empty(s, asked[:min(len(asked), 20)], "requests besides watches and the Lease, the first of %d", len(asked))
	require.Less(s, rss, int64(200<<20))

	offset = s.auditSize()
	op.signal(os.Kill)
	<-op.ended
	s.benchOperator()
	s.eventually("it leads again", func() error {
		if len(s.requests(offset, benchUser)) < 10 {
			return errNotYet
		}
		return nil
	})
	s.pass(quiet / 4)
	require.Empty(s, s.writesOf(offset, benchUser), "a restart reads, and writes nothing")

	one := s.toggle(0, 1)
	took := s.toggle(1, toggled)
	limit := time.Duration(1.5 * math.Ceil(float64(toggled)/float64(budget)) * float64(one))
	report("toggling %d nodes with a budget of %d: %.1fs; one node %.1fs; the limit is %.1fs",
		toggled, budget, took.Seconds(), one.Seconds(), limit.Seconds())
	require.Less(s, took, limit)
}

// awaitSilence waits until somebody asks nothing of the API server for a while: the event about the last node that became
// Ready is written after its status.
func (s *S) awaitSilence(user string) {
	s.Helper()
	s.eventually(user+" is silent", func() error {
		offset := s.auditSize()
		s.pass(3 * time.Second)
		for _, r := range s.requests(offset, user) {
			if r.resource() != "coordination.k8s.io/leases" && r.Verb != "watch" {
				return fmt.Errorf("it asks: %s %s", r.Verb, r.RequestURI)
			}
		}
		return nil
	})
}

// chainBudget sets the budget of the scenario's chain, until it ends.
func (s *S) chainBudget(n int) {
	s.Helper()
	key := types.NamespacedName{Namespace: "sei-system", Name: "seictl-config"}
	put := func(change func(string) string) (before string) {
		var cm corev1.ConfigMap
		require.NoError(s, s.client.Get(background(), key, &cm))
		before = cm.Data["config.yaml"]
		cm.Data["config.yaml"] = change(before)
		require.NoError(s, s.client.Update(background(), &cm))
		return before
	}
	before := put(func(text string) string {
		return text + "budgets:\n  chains:\n    " + s.chain + ": " + strconv.Itoa(n) + "\n"
	})
	s.Cleanup(func() { put(func(string) string { return before }) })
}

// awaitNodes watches until the scenario has so many nodes and all are as check wants them.
func (s *S) awaitNodes(wanted int, within time.Duration, check func(*v1alpha1.SeiNode) bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), within)
	defer cancel()
	var known, left map[string]bool
	all := func() bool { return len(left) == 0 && len(known) >= wanted }
	for ctx.Err() == nil {
		var list v1alpha1.SeiNodeList
		if err := s.client.List(ctx, &list, client.InNamespace(s.ns)); err != nil {
			continue
		}
		known, left = map[string]bool{}, map[string]bool{}
		for i := range list.Items {
			known[list.Items[i].Name] = true
			if !check(&list.Items[i]) {
				left[list.Items[i].Name] = true
			}
		}
		if all() {
			return
		}
		w, err := s.client.Watch(ctx, &list, client.InNamespace(s.ns),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
		if err != nil {
			continue
		}
		for event := range w.ResultChan() {
			n, ok := event.Object.(*v1alpha1.SeiNode)
			if !ok {
				break
			}
			known[n.Name] = true
			if delete(left, n.Name); !check(n) {
				left[n.Name] = true
			}
			if all() {
				break
			}
		}
		w.Stop()
		if all() {
			return
		}
	}
	require.Fail(s, "not all nodes came to be as they should", "%d of %d are not, after %s", len(left), len(known), within)
}

// toggle turns TLS on on nodes from..from+n-1 at once, and says how long it took.
func (s *S) toggle(from, n int) time.Duration {
	s.Helper()
	begun := time.Now()
	wanted := map[string]bool{}
	for i := range n {
		name := benchName(from + i)
		wanted[name] = true
		(&Node{s: s, name: name}).setTLS(byIssuer(issuerA))
	}
	s.awaitNodes(0, time.Hour, func(o *v1alpha1.SeiNode) bool {
		return !wanted[o.Name] || (o.Status.CurrentSidecarTLS != nil && isReady(o) && !o.Status.Plan.Active())
	})
	return time.Since(begun)
}

// pass lets time pass, in which something must not happen.
func (s *S) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.Context().Done():
	}
}
