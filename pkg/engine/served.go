package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

// refreshServed keeps what is stamped of the served certificate true. It looks when something happened that may change it:
// the Secret holds another one, the pod or its proxy is another; and now and then, because nothing tells when a proxy serves
// what it should not. No pod is cycled for what it finds.
func (p *pass) refreshServed(ctx context.Context) {
	st, v := &p.node.Status, p.snapshot.CurrentVerdict
	current := st.CurrentSidecarTLS
	switch {
	case current == nil, st.Plan.Active() && st.Plan.Kind != v1alpha1.MarkReady:
		// A plan that cycles the pod looks for itself.
		p.looks.forget(p.node.UID)
		return
	case st.Plan.Active(), !loadable(v), !p.snapshot.PodReady():
		return
	}
	done, at := p.looks.take(p.node.UID, p.servedKey(v), v.FingerprintSHA256 != current.FingerprintSHA256, p.now)
	if done != nil {
		at = done(p.lookAtServed(ctx, v))
	}
	p.wakeAt(at)
}

// lookAtServed looks at the served certificate once and says whether it is the one in the Secret.
func (p *pass) lookAtServed(ctx context.Context, v *certs.Verdict) bool {
	current := p.node.Status.CurrentSidecarTLS
	leaf, err := p.wire.served(ctx, p.env(), p.node, p.snapshot.Pod, v)
	var (
		other     *sidecar.LeafMismatchError
		untrusted *sidecar.UntrustedError
	)
	switch {
	case err == nil:
		p.stampServed(v.FingerprintSHA256, leaf.NotAfter)
		return true
	case errors.As(err, &untrusted) && !v.Ready && untrusted.Served == v.FingerprintSHA256:
		// The proxy took up what is unsound. The Secret vouches for it no less than for a sound one.
		p.stampServed(v.FingerprintSHA256, untrusted.ServedNotAfter)
		return true
	case errors.As(err, &other):
		// The kubelet's sync and the proxy's reload take their time. What is neither the Secret's nor what was seen before is
		// not stamped, as what is stamped is trusted; but what was stamped is not true any more.
		if current.FingerprintSHA256 != "" && other.Served != current.FingerprintSHA256 {
			p.stampServed("", time.Time{})
		}
	default:
		p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("looking at the served certificate: %v", err))
	}
	return false
}

// stampServed records which leaf is served, when it is another one than before; none when nobody vouches for it.
func (p *pass) stampServed(fingerprint string, notAfter time.Time) {
	current := p.node.Status.CurrentSidecarTLS
	if current.FingerprintSHA256 == fingerprint {
		return
	}
	at := metav1.NewTime(p.now)
	current.FingerprintSHA256, current.NotAfter, current.ObservedAt = fingerprint, nil, &at
	if !notAfter.IsZero() {
		current.NotAfter = &metav1.Time{Time: notAfter}
	}
}

// servedKey is what decides which certificate a proxy serves: when it is another one, what was seen before says nothing.
func (p *pass) servedKey(v *certs.Verdict) string {
	pod := p.snapshot.Pod
	key := v.FingerprintSHA256 + " " + string(pod.UID)
	for i := range pod.Status.InitContainerStatuses {
		if c := &pod.Status.InitContainerStatuses[i]; c.Name == resources.ContainerProxy {
			key += fmt.Sprintf(" %d", c.RestartCount)
		}
	}
	return key
}

// loadable says whether a proxy can load what a Secret holds, sound or not, so that which leaf is served tells something.
func loadable(v *certs.Verdict) bool {
	return v != nil && v.Leaf != nil && (v.Ready || !v.Unknown && v.Reason != v1alpha1.ReasonTLSSecretMalformed)
}

// servedText says who is concerned by a Secret that is not sound: callers now, or the node at its next restart.
func servedText(v *certs.Verdict, current *v1alpha1.ObservedSidecarTLS) string {
	switch {
	case v.Ready || v.Unknown || current == nil:
		return ""
	case loadable(v) && v.FingerprintSHA256 == current.FingerprintSHA256:
		return "; the proxy serves it: callers that verify it are refused now"
	case v.Reason == v1alpha1.ReasonTLSSecretNotFound, loadable(v) && current.FingerprintSHA256 != "":
		return "; the proxy goes on with the certificate that it loaded before, until it restarts"
	}
	return ""
}
