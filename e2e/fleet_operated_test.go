//go:build e2e

package e2e

import (
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
)

// operatedFleet has the commands of a rollout edit and watch, while the operator drives.
func operatedFleet(s *S) {
	nodes := s.bornAll("ax-0", "ax-1", "ax-2")
	s.forgetRollouts()
	first := s.rollingOut("enable-tls", "--issuer", issuerA)
	s.reached("ax-0", "started")
	s.rollOut("pause").exits(done).says("is paused")
	first.wait().exits(paused).says("drives; this command watches", "seictl fleet resume --chain "+s.chain)
	require.Contains(s, s.holder(), "operator/", "the operator was not interrupted")
	require.Equal(s, int64(1), nodes[1].get().Generation, "its turn never came")

	uid := nodes[1].pod().UID
	second := s.rollingOut("resume")
	s.reached("ax-1", "started")
	nodes[1].podWhen("its pod is replaced, which is seen through", func(p *corev1.Pod) bool { return p.UID != uid })
	s.rollOut("abort").exits(done).says("is aborted")
	second.wait().exits(failed)
	require.Nil(s, nodes[2].get().SidecarTLS(), "its turn never came")
	s.requireCycles(nodes[:1], 2)

	s.untouched(nodes[2:], func() { s.rollOut("undo").exits(done).says("drives; this command watches") })
	for _, n := range nodes {
		n.eventually("Ready, without TLS", func(o *v1alpha1.SeiNode) bool { return isReady(o) && o.Status.CurrentSidecarTLS == nil })
		n.requireNoTLSLeft()
	}
	s.rollOut("enable-tls", "--issuer", issuerA, "--canary", "0").exits(done)
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerA)
	}
	require.Contains(s, s.holder(), "operator/")
}
