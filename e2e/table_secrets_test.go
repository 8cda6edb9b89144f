//go:build e2e

package e2e

import (
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
)

// secrets are TLS Secrets that are not sound, before and after they are used.
var secrets = []Scenario{
	{
		Name: "secret-unsound", Catalogue: []int{15, 16, 17}, Gate: tierSim,
		Happens: "The Secret that somebody provisions is missing, of the wrong type, empty, holds a key of another certificate, lacks " +
			"a DNS name, has expired or is not valid yet.",
		See: "The update does not start: exit code 4, reason UpdateBlocked, and a message that says what is wrong with the Secret. " +
			"The pod was not touched. A sound Secret lets the next apply go through.",
		Do:  "Provision the Secret as status.sidecarTLS says: its name and the required DNS names.",
		Run: secretUnsound,
	},
	{
		Name: "secret-deleted-while-running", Catalogue: []int{18}, Gate: tierSim,
		Happens: "The Secret of a node that serves is deleted. Later an image update follows.",
		See: "`seictl node verify` exits with 4. SidecarTLSSecretReady is False with reason TLSSecretNotFound. The pod is not " +
			"rolled, and the image update does not start: the pod would not come back.",
		Do: "Provision the Secret again.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			s.create(ca.secretFor(n, "own"))
			n.cycles(1, func() { n.apply("--tls", "--secret", "own").exits(done) })
			n.cycles(0, func() {
				s.delete("own", &corev1.Secret{})
				s.run("node", "verify", n.name, "-n", s.ns).exits(failed).says("own")
				n.apply("--image", imageV2).exits(failed).says("own")
				n.requireUpdate(v1alpha1.ReasonUpdateBlocked, "own")
				n.requireCondition(v1alpha1.ConditionSidecarTLSSecretReady, metav1.ConditionFalse, v1alpha1.ReasonTLSSecretNotFound, "own")
				n.requireServing()
			})
			s.create(ca.secretFor(n, "own"))
			n.cycles(1, func() { n.apply().exits(done) })
			n.requireTLS("Secret/own")
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
		},
	},
	{
		Name: "secret-gone-before-the-gate", Catalogue: []int{19}, Gate: tierSim,
		Happens: "The Secret that somebody provisions vanishes after the plan was made and before it comes to its gate.",
		See:     "The plan stands at the gate and says what is missing: the StatefulSet is not touched. Once the Secret is back, the plan goes on.",
		Do:      "Provision the Secret again.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			s.create(ca.secretFor(n, "own"))
			before := n.statefulSet().Generation
			n.cycles(1, func() {
				n.applyKilledAt("before/wait-for-sidecar-tls-secret", "--tls", "--secret", "own").exits(killed)
				s.delete("own", &corev1.Secret{})
				apply := n.applying()
				n.saysOf(v1alpha1.TaskWaitForSidecarTLSSecret, "own")
				require.Equal(s, before, n.statefulSet().Generation)
				s.create(ca.secretFor(n, "own"))
				apply.wait().exits(done)
			})
			n.requireTLS("Secret/own")
		},
	},
	{
		Name: "secret-gone-before-the-delete", Catalogue: []int{19}, Gate: tierSim,
		Happens: "The Secret vanishes after the gate of an update looked at it and before the pod is deleted.",
		See:     "The pod is kept, as its successor could not start, and the plan says so. Once the Secret is back, the plan goes on.",
		Do:      "Provision the Secret again.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			s.create(ca.secretFor(n, "own"))
			n.apply("--tls", "--secret", "own").exits(done)
			n.cycles(1, func() {
				n.applyKilledAt("before/replace-pod", "--image", imageV2).exits(killed)
				uid := n.pod().UID
				s.delete("own", &corev1.Secret{})
				apply := n.applying()
				n.saysOf(v1alpha1.TaskReplacePod, "keeping pod", "own")
				require.Equal(s, uid, n.pod().UID)
				s.create(ca.secretFor(n, "own"))
				apply.wait().exits(done)
			})
			n.requireServing()
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
		},
	},
	{
		Name:    "secret-renewed",
		Happens: "The certificate in a provisioned Secret is renewed.",
		See:     "No pod cycle: the proxy reloads, and `seictl node verify` finds the new leaf served.",
		Do:      "Nothing. Kubelet and proxy take up to three minutes to pick it up.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			secret := ca.secretFor(n, "own")
			s.create(secret)
			n.apply("--tls", "--secret", "own").exits(done)
			secret.Data = ca.secretFor(n, "own").Data
			n.cycles(0, func() {
				s.update(secret)
				s.eventually("the new leaf is served", func() error { return same(s.leaf("own"), n.served("own")) })
				s.run("node", "verify", n.name, "-n", s.ns).exits(done).says(s.leaf("own"))
				n.apply().exits(done)
			})
		},
	},
}

func secretUnsound(s *S) {
	n, ca := s.running(), s.authority()
	hour := time.Hour
	from, until := time.Now().Add(-hour), time.Now().Add(hour)
	good, goodKey := ca.pair(from, until, n.names()...)
	_, otherKey := ca.pair(from, until, n.names()...)
	short, shortKey := ca.pair(from, until, n.names()[0])
	old, oldKey := ca.pair(from.Add(-hour), from, n.names()...)
	young, youngKey := ca.pair(until, until.Add(hour), n.names()...)
	opaque := ca.secret("opaque", good, goodKey)
	opaque.Type = corev1.SecretTypeOpaque
	for _, secret := range []*corev1.Secret{
		opaque,
		ca.secret("empty", nil, nil),
		ca.secret("mismatch", good, otherKey),
		ca.secret("short", short, shortKey),
		ca.secret("old", old, oldKey),
		ca.secret("young", young, youngKey),
	} {
		s.create(secret)
	}
	for _, tc := range []struct {
		secret string
		says   []string
	}{
		{"absent", []string{"does not exist"}},
		{"opaque", []string{"Opaque", "kubernetes.io/tls"}},
		{"empty", []string{"tls.crt"}},
		{"mismatch", []string{"key"}},
		{"short", []string{n.names()[1]}},
		{"old", []string{"expired"}},
		{"young", []string{"valid from"}},
	} {
		n.cycles(0, func() {
			n.apply("--tls", "--secret", tc.secret).exits(failed).says(append(tc.says, tc.secret)...)
		})
		n.requireUpdate(v1alpha1.ReasonUpdateBlocked, tc.says...)
		require.Nil(s, n.get().Status.CurrentSidecarTLS)
		require.Equal(s, n.names(), n.get().Status.SidecarTLS.RequiredDNSNames)
	}
	s.create(ca.secret("sound", good, goodKey))
	n.cycles(1, func() { n.apply("--tls", "--secret", "sound").exits(done) })
	n.requireTLS("Secret/sound")
}
