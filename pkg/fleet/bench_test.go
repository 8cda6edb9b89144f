package fleet_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/pkg/fleet"
)

// thousand is a chain of 1,000 nodes: 40 SeiNodeDeployments of 20, and standalone ones.
func thousand(tb testing.TB) *world {
	tb.Helper()
	w := &world{now: now, budget: intstr.FromInt32(50)}
	t := &testing.T{}
	w.t = t
	for i := range 40 {
		w.snd(fmt.Sprintf("s%d", i), 20, 5)
	}
	for i := range 200 {
		w.node(fmt.Sprintf("ax-%d", i))
	}
	return w
}

func BenchmarkBuild(b *testing.B) {
	w := thousand(b)
	s := w.strategy()
	s.MaxUnavailable = intstr.FromInt32(50)
	in := w.input(enable, s)
	b.ReportAllocs()
	for b.Loop() {
		p, r, err := fleet.Build(in)
		require.NoError(b, err)
		require.Equal(b, 1000, p.Working())
		require.NoError(b, r.Fits())
	}
}

func BenchmarkStep(b *testing.B) {
	w := thousand(b)
	s := w.strategy()
	s.MaxUnavailable = intstr.FromInt32(50)
	_, r, err := fleet.Build(w.input(enable, s))
	require.NoError(b, err)
	v := w.view()
	b.ReportAllocs()
	for b.Loop() {
		fleet.Step(r.Clone(), v)
	}
}
