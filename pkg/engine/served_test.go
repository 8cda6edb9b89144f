package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

func TestServedLeafIsFollowed(t *testing.T) {
	n := running(issuerTLS("a"))
	w := newWorld(t, n, stamp(t, n, objects(t, n))...)
	w.settle()
	require.Zero(t, w.requests["handshake"], "a settled node is not asked")

	renewed := pair(t, n, issuerTLS("a"), t0.Add(2*time.Hour))
	w.put(renewed)
	was := w.node().Status.CurrentSidecarTLS.FingerprintSHA256
	w.fail["handshake"] = &sidecar.LeafMismatchError{Served: was}
	out := w.settle()
	require.Equal(t, was, w.node().Status.CurrentSidecarTLS.FingerprintSHA256, "the old one is served still")
	require.Equal(t, sidecarPoll, out.RequeueAfter)

	delete(w.fail, "handshake")
	w.now = w.now.Add(sidecarPoll)
	w.settle()
	got := w.node().Status.CurrentSidecarTLS
	require.Equal(t, fingerprint(t, renewed), got.FingerprintSHA256)
	require.Equal(t, t0.Add(2*time.Hour), got.NotAfter.UTC())
	require.Empty(t, w.ran)
}

// settledWithTLS is a world whose node serves what its Secret holds.
func settledWithTLS(t *testing.T) (*world, *v1alpha1.SeiNode) {
	t.Helper()
	n := running(secretTLS("own"))
	w := newWorld(t, n, stamp(t, n, objects(t, n))...)
	w.engine.looks = newLooks(DefaultServedCheckInterval)
	require.True(t, w.settle().Settled)
	w.requests = map[string]int{}
	return w, n
}

func secretReadyMessage(n *v1alpha1.SeiNode) string {
	return meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady).Message
}

func TestSettledNodeIsLookedAtNowAndThen(t *testing.T) {
	w, _ := settledWithTLS(t)
	for range 3 {
		out := w.pass()
		require.Positive(t, out.RequeueAfter)
		require.LessOrEqual(t, out.RequeueAfter, DefaultServedCheckInterval*11/10)
		looked := w.requests["handshake"]
		w.pass()
		require.Equal(t, looked, w.requests["handshake"], "not before its time")
		w.now = w.now.Add(out.RequeueAfter)
		w.pass()
		require.Equal(t, looked+1, w.requests["handshake"])
	}
	require.Zero(t, w.requests["patch status"], "all is as it was")
}

func TestProxyServesAStrangersCertificate(t *testing.T) {
	w, _ := settledWithTLS(t)
	was := *w.node().Status.CurrentSidecarTLS
	w.fail["handshake"] = &sidecar.LeafMismatchError{Served: "stranger", Wanted: was.FingerprintSHA256}
	w.now = w.now.Add(w.pass().RequeueAfter)
	out := w.pass()
	got := w.node().Status.CurrentSidecarTLS
	require.Empty(t, got.FingerprintSHA256, "nobody vouches for what is served: it must not be trusted")
	require.Nil(t, got.NotAfter)
	require.Equal(t, sidecarPoll, out.RequeueAfter)
	require.Empty(t, w.ran, "no pod is cycled for it")

	require.Contains(t, out.ServedTrouble, "stranger")
	require.Empty(t, w.pass().ServedTrouble, "said once")

	// It is looked at often, then less so.
	next := func() time.Duration {
		w.now = w.now.Add(w.pass().RequeueAfter)
		return w.pass().RequeueAfter
	}
	for begun := w.now; w.now.Sub(begun) < takeUpTime-sidecarPoll; {
		require.Equal(t, sidecarPoll, next())
	}
	next()
	for range 10 {
		require.Equal(t, troublePoll, next())
	}
	out = w.pass()
	require.Equal(t, 1, w.requests["patch status"])

	delete(w.fail, "handshake")
	w.now = w.now.Add(out.RequeueAfter)
	w.pass()
	require.Equal(t, was.FingerprintSHA256, w.node().Status.CurrentSidecarTLS.FingerprintSHA256)
}

// A Secret that is not sound says whom that concerns: callers, once the proxy took it up, or else the next restart.
func TestUnsoundSecretSaysWhoIsConcerned(t *testing.T) {
	w, n := settledWithTLS(t)
	was := w.node().Status.CurrentSidecarTLS.FingerprintSHA256
	other := n.DeepCopy()
	other.Name = "other"
	unsound := pair(t, other, secretTLS("own"), t0.Add(time.Hour))
	w.put(unsound)
	w.fail["handshake"] = &sidecar.LeafMismatchError{Served: was}
	w.pass()
	require.Contains(t, condition(w.node(), v1alpha1.ConditionSidecarTLSSecretReady), "False TLSSecretSANsMismatch")
	require.Contains(t, secretReadyMessage(w.node()), "serves another one still, and takes this one up within minutes")
	require.Equal(t, was, w.node().Status.CurrentSidecarTLS.FingerprintSHA256)

	w.fail["handshake"] = &sidecar.UntrustedError{Served: fingerprint(t, unsound), Err: errors.New("names")}
	w.now = w.now.Add(sidecarPoll)
	w.pass()
	require.Contains(t, secretReadyMessage(w.node()), "the proxy serves it, so that callers are affected now")
	require.Equal(t, was, w.node().Status.CurrentSidecarTLS.FingerprintSHA256, "what is stamped is trusted: nothing unsound is")
	serves, ok := w.engine.ServesSecret(w.node())
	require.True(t, ok)
	require.True(t, serves)

	// A driver that takes over does not take back what it does not know yet.
	before := w.requests["patch status"]
	again := New(w.engine.opts)
	again.wire = w.engine.wire
	again.looks.rate.SetLimit(0)
	again.looks.rate.ReserveN(w.now, 1)
	w.engine = again
	w.pass()
	require.Contains(t, secretReadyMessage(w.node()), "callers are affected now")
	require.Equal(t, before, w.requests["patch status"])

	w.remove(unsound)
	w.pass()
	require.Contains(t, secretReadyMessage(w.node()), "until the pod restarts")
	w.pod(func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = nil
		p.Status.Conditions = nil
	})
	w.pass()
	require.NotContains(t, secretReadyMessage(w.node()), "the proxy goes on", "there is none")
}

// A node that waits for its turn may do so for hours, in which its certificate is renewed.
func TestQueuedNodeIsLookedAt(t *testing.T) {
	w, n := settledWithTLS(t)
	budget := &slots{full: true}
	w.engine.opts.Budget = budget
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.settle()
	require.Equal(t, "True UpdateQueued", condition(w.node(), v1alpha1.ConditionNodeUpdateInProgress))
	renewed := pair(t, n, secretTLS("own"), t0.Add(2*time.Hour))
	w.put(renewed)
	w.settle()
	require.Equal(t, fingerprint(t, renewed), w.node().Status.CurrentSidecarTLS.FingerprintSHA256)
}

// A proxy that restarted may have loaded something else.
func TestRestartedProxyIsLookedAtAgain(t *testing.T) {
	w, _ := settledWithTLS(t)
	w.pod(func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, corev1.ContainerStatus{
			Name: resources.ContainerProxy, Ready: true, RestartCount: 1,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		})
	})
	w.pass()
	require.Equal(t, 1, w.requests["handshake"])
	w.pass()
	require.Equal(t, 1, w.requests["handshake"])
}

func TestLooksAreBounded(t *testing.T) {
	s := newLooks(time.Minute)
	uid := func(i int) types.UID { return types.UID(rune('a' + i)) }
	// Of a thousand suspects at once, so many get their turn each second.
	const nodes, seconds = 20, 5
	looked := map[types.UID]bool{}
	for step := range seconds * 20 {
		for i := range nodes {
			if looked[uid(i)] {
				continue
			}
			if done, _ := s.take(uid(i), "key", true, t0.Add(time.Duration(step)*50*time.Millisecond)); done != nil {
				done(LookCurrent, "")
				looked[uid(i)] = true
			}
		}
		require.LessOrEqual(t, len(looked), 1+step*looksPerSecond/20)
	}
	require.Len(t, looked, nodes)

	// And only so many are under way.
	s = newLooks(time.Minute)
	for i := range looksAtOnce {
		now := t0.Add(time.Duration(i) * time.Second)
		done, _ := s.take(uid(i), "key", true, now)
		require.NotNil(t, done)
	}
	now := t0.Add(time.Minute)
	for i := range 3 {
		done, at := s.take(uid(looksAtOnce), "key", true, now)
		require.Nil(t, done)
		require.True(t, at.After(now), "%d: to the end of the queue", i)
		now = at
	}

	// Those that piled up while nobody could look get new times, and a clock that a pass read early does not count twice.
	s = newLooks(time.Minute)
	for i := range 200 {
		s.take(types.UID(fmt.Sprint(i)), "key", true, t0)
	}
	burst := 0
	for i := range 200 {
		if done, _ := s.take(types.UID(fmt.Sprint(i)), "key", true, t0.Add(time.Hour-time.Duration(i%2)*time.Second)); done != nil {
			done(LookCurrent, "")
			burst++
		}
	}
	require.LessOrEqual(t, burst, 1+looksPerSecond)

	// After an hour of trouble a node is looked at as seldom as any.
	l := &look{trouble: t0}
	require.Equal(t, t0.Add(troubleTime/2+troublePoll), l.ended(LookOther, "", t0.Add(troubleTime/2)))
	l = &look{trouble: t0, at: t0.Add(2 * troubleTime)}
	require.Equal(t, l.at, l.ended(LookFailed, "", t0.Add(troubleTime)))

	// What nobody suspects is spread over the interval.
	s = newLooks(time.Hour)
	var first, last time.Time
	for i := range nodes {
		done, at := s.take(uid(i), "key", false, t0)
		require.Nil(t, done)
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	require.Greater(t, last.Sub(first), 20*time.Minute)
}
