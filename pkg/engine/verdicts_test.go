package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
)

// Two nodes may use one Secret, whose certificate each wants for its own names: neither verdict displaces the other.
func TestVerdictsAreKeptPerNode(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key := types.NamespacedName{Namespace: "fleet", Name: "shared"}
	var e Engine
	for _, uid := range []types.UID{"a", "b"} {
		e.verdicts.store(uid, key, cachedVerdict{version: "1", want: string(uid), judged: now,
			verdict: certs.Verdict{Ready: true, FingerprintSHA256: "of-" + string(uid)}})
	}
	for _, uid := range []types.UID{"a", "b"} {
		v, ok := e.verdicts.lookup(uid, key, "1", string(uid), now)
		require.True(t, ok)
		require.Equal(t, "of-"+string(uid), v.FingerprintSHA256)
		_, ok = e.verdicts.lookup(uid, key, "2", string(uid), now)
		require.False(t, ok, "another version of the Secret")
	}
}

func TestVerdictsOfANodeThatIsGoneAreDropped(t *testing.T) {
	t.Parallel()
	node := running(secretTLS("own"))
	other := node.DeepCopy()
	other.UID = "other"
	key := types.NamespacedName{Namespace: node.Namespace, Name: "own"}
	e := New(Options{})
	for _, n := range []*v1alpha1.SeiNode{node, other} {
		e.verdicts.store(n.UID, key, cachedVerdict{version: "1", verdict: certs.Verdict{FingerprintSHA256: "leaf"}})
		n.Status.CurrentSidecarTLS.FingerprintSHA256 = "leaf"
		serves, ok := e.ServesSecret(n)
		require.True(t, ok)
		require.True(t, serves)
	}
	e.Forget(node.UID)
	_, ok := e.ServesSecret(node)
	require.False(t, ok)
	_, ok = e.ServesSecret(other)
	require.True(t, ok)
	e.Forget(other.UID)
	require.Empty(t, e.verdicts.m)
}
