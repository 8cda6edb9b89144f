package engine

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/sidecar"
)

// refreshServed keeps the stamped fingerprint true: when the Secret holds another sound leaf than the one stamped, after a
// renewal, it looks until the proxy serves it. A settled node is not asked.
func (p *pass) refreshServed(ctx context.Context) error {
	st, v := &p.node.Status, p.snapshot.CurrentVerdict
	current := st.CurrentSidecarTLS
	if current == nil || st.Plan.Active() || v == nil || !v.Ready || v.Leaf == nil || !p.snapshot.PodReady() ||
		v.FingerprintSHA256 == current.FingerprintSHA256 {
		return nil
	}
	leaf, err := p.wire.served(ctx, p.env(), p.node, p.snapshot.Pod, v)
	var mismatch *sidecar.LeafMismatchError
	switch {
	case errors.As(err, &mismatch):
		// The kubelet's sync and the proxy's reload take their time.
		p.wakeAfter(sidecarPoll)
		return nil
	case err != nil:
		p.wakeAfter(sidecarPoll)
		p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("looking at the served certificate: %v", err))
		return nil
	}
	at, notAfter := metav1.NewTime(p.now), metav1.NewTime(leaf.NotAfter)
	current.FingerprintSHA256, current.NotAfter, current.ObservedAt = certs.Fingerprint(leaf), &notAfter, &at
	return nil
}
