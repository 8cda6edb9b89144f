package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

// refreshServed keeps what is stamped of the served certificate true. It looks when something happened that may change it:
// the Secret holds another one, the pod or its proxy is another; and now and then, because nothing tells when a proxy serves
// what it should not. No pod is cycled for what it finds.
func (p *pass) refreshServed(ctx context.Context) {
	st, v := &p.node.Status, p.snapshot.CurrentVerdict
	current := st.CurrentSidecarTLS
	parked := p.decision.Idle == idleQueued || p.decision.Idle == plan.IdlePaused
	switch {
	case current == nil, st.Plan.Active() && !parked && st.Plan.Kind != v1alpha1.MarkReady:
		// A plan at work looks for itself.
		p.looks.forget(p.node.UID)
		return
	case st.Plan.Active() && !parked, !loadable(v), !p.snapshot.PodReady():
		return
	}
	done, at := p.looks.take(p.node.UID, p.servedKey(v), v.FingerprintSHA256 != current.FingerprintSHA256, p.now)
	if done != nil {
		found, unsound := LookFailed, ""
		func() {
			defer func() { at = done(found, unsound) }()
			found, unsound = p.lookAtServed(ctx, v)
		}()
	}
	if !at.IsZero() {
		p.wakeAt(at)
	}
}

// lookAtServed looks at the served certificate once, and stamps it when it is a sound one. unsound is the fingerprint of one
// that is not: what is stamped is trusted, so that is only remembered.
func (p *pass) lookAtServed(ctx context.Context, v *certs.Verdict) (found LookResult, unsound string) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	current := p.node.Status.CurrentSidecarTLS
	_, err := p.wire.served(ctx, p.env(), p.node, p.snapshot.Pod, v)
	var (
		other     *sidecar.LeafMismatchError
		untrusted *sidecar.UntrustedError
	)
	switch {
	case err == nil && v.Ready:
		p.stampServed(v.FingerprintSHA256, v.NotAfter)
		return LookCurrent, ""
	case err == nil, errors.As(err, &untrusted) && !v.Ready && untrusted.Served == v.FingerprintSHA256:
		return LookCurrent, v.FingerprintSHA256
	case errors.As(err, &other):
		// The kubelet's sync and the proxy's reload take their time. What is neither the Secret's nor what was seen before is
		// vouched for by nobody; and what was stamped is not true any more.
		if current.FingerprintSHA256 != "" && other.Served != current.FingerprintSHA256 {
			p.stampServed("", time.Time{})
		}
		found = LookOther
	default:
		found = LookFailed
	}
	if p.looks.last(p.node.UID, p.servedKey(v)) != found {
		p.out.ServedTrouble = fmt.Sprintf("looking at the served certificate: %v", err)
	}
	return found, ""
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

// servedText says who is concerned by a Secret that is not sound, while a proxy runs: callers now, or the node at its next
// restart. What it said stays until it is known better.
func (p *pass) servedText(v *certs.Verdict) string {
	current := p.node.Status.CurrentSidecarTLS
	if v.Ready || v.Unknown || current == nil || p.snapshot.Pod == nil {
		return ""
	}
	if c := sidecarStatus(p.snapshot.Pod); c == nil || c.State.Running == nil {
		return ""
	}
	switch {
	case v.Reason == v1alpha1.ReasonTLSSecretNotFound:
		return "; the proxy goes on with the certificate that it loaded before, until the pod restarts"
	case !loadable(v):
		return ""
	}
	found := p.looks.last(p.node.UID, p.servedKey(v))
	if v.FingerprintSHA256 == current.FingerprintSHA256 {
		found = LookCurrent
	}
	switch found {
	case LookCurrent:
		return "; the proxy serves it, so that callers are affected now"
	case LookOther:
		return "; the proxy serves another one still, and takes this one up within minutes"
	}
	had := meta.FindStatusCondition(p.orig.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
	if had == nil || had.Reason != v.Reason || !strings.HasPrefix(had.Message, v.Message) {
		return ""
	}
	return strings.TrimPrefix(had.Message, v.Message)
}
