package drift

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

var sink Report

// settledNodes are nodes of which nothing is due, as most are at most passes.
func settledNodes() map[string]*v1alpha1.SeiNode {
	defaulted := settled(issuer("a", ""))
	defaulted.Status.CurrentSidecarTLS.IssuerKind = v1alpha1.IssuerKindClusterIssuer
	return map[string]*v1alpha1.SeiNode{
		"TLS off": settled(nil), "issuer": settled(issuer("a", "Issuer")), "defaulted issuer": defaulted,
		"provisioned": settled(secret("x")),
	}
}

func TestNoDriftAllocatesNothing(t *testing.T) {
	for name, n := range settledNodes() {
		in := Input{Node: n, Settings: defaults()}
		require.Zero(t, testing.AllocsPerRun(100, func() { sink = Evaluate(in) }), name)
		require.Empty(t, sink.Findings)
	}
}

func BenchmarkNoDrift(b *testing.B) {
	in := Input{Node: settledNodes()["defaulted issuer"], Settings: defaults()}
	b.ReportAllocs()
	for b.Loop() {
		sink = Evaluate(in)
	}
}

func BenchmarkNoDriftWithSnapshot(b *testing.B) {
	n := settled(issuer("a", ""))
	in := Input{Node: n, Settings: defaults(), Snapshot: running(n)}
	b.ReportAllocs()
	for b.Loop() {
		sink = Evaluate(in)
	}
}
