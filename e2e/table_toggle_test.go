//go:build e2e

package e2e

import (
	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

// toggles are the changes of TLS and image that go well.
var toggles = []Scenario{
	{
		Name: "enable", Gate: tierReal,
		Happens: "TLS is turned on for a running node: spec.sidecar.tls names an issuer.",
		See: "One plan, one pod cycle. status.currentSidecarTLS has the fingerprint of the certificate that was seen on the wire, " +
			"and `seictl node verify` exits with 0.",
		Do: "Nothing.",
		Run: func(s *S) {
			n := s.running()
			n.plan("--tls", "--issuer", issuerA, "--detailed-exitcode").exits(pending)
			n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.requireReady()
			n.requireUpdate(v1alpha1.ReasonUpdateComplete)
			n.requireEvent(v1alpha1.ReasonTLSToggleStarted)
			n.requireEvent(v1alpha1.ReasonUpdateComplete)
			s.run("node", "verify", n.name, "-n", s.ns).exits(done).says(n.get().Status.CurrentSidecarTLS.FingerprintSHA256)
			s.run("node", "status", n.name, "-n", s.ns).exits(done).says(issuerA)
			require.Equal(s, []string{"v1", "v1"}, n.starts())
		},
	},
	{
		Name: "apply-again", Alone: true, Gate: tierReal,
		Happens: "`seictl node apply` runs again although nothing is left to do.",
		See:     "Exit code 0, nothing written: no object changes, and the Lease is not even taken.",
		Do:      "Nothing.",
		Run:     applyAgain,
	},
	{
		Name: "issuer-swap", Catalogue: []int{9, 10}, Gate: tierSim,
		Happens: "The certificate shall come from another issuer. For a while the Secret still holds the old issuer's certificate, " +
			"and cert-manager's Ready condition still speaks of the old one.",
		See: "No pod cycle. The plan waits for the new certificate, then until the proxy really serves it; only then does the " +
			"status name the new issuer.",
		Do: "Nothing: kubelet and proxy take up to three minutes to pick a new certificate up.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			old := s.leaf(n.certificateName())
			n.cycles(0, func() { n.apply("--tls", "--issuer", issuerB).exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerB)
			require.NotEqual(s, old, s.leaf(n.certificateName()))
			require.Equal(s, []string{"v1"}, n.starts())
		},
	},
	{
		Name: "every-source", Gate: tierReal,
		Happens: "TLS changes between a Secret that somebody provisions, another one, an issuer, and off.",
		See:     "Each change is one plan with one pod cycle. What an issuer issued is removed; a provisioned Secret is never touched.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			for _, name := range []string{"first", "second"} {
				s.create(ca.secretFor(n, name))
			}
			for _, step := range []struct {
				args []string
				want string
			}{
				{[]string{"--tls", "--secret", "first"}, "Secret/first"},
				{[]string{"--tls", "--secret", "second"}, "Secret/second"},
				{[]string{"--tls", "--issuer", issuerA}, "ClusterIssuer/" + issuerA},
				{[]string{"--tls", "--secret", "first"}, "Secret/first"},
			} {
				n.cycles(1, func() { n.apply(step.args...).exits(done) })
				n.requireTLS(step.want)
			}
			n.cycles(1, func() { n.apply("--no-tls").exits(done) })
			n.requireNoTLSLeft()
			s.leaf("first")
			s.leaf("second")
		},
	},
	{
		Name: "enable-remove-enable", Catalogue: []int{12, 21, 29, 30}, Gate: tierReal,
		Happens: "TLS is turned on, removed with consent, and turned on again. StatefulSets count revisions in a way that makes " +
			"the third step look done.",
		See: "Every step replaces the pod. After the removal no proxy, Certificate, Secret or ConfigMap is left, and the consent " +
			"annotation is consumed.",
		Do: "Nothing.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done) })
			first := s.leaf(n.certificateName())
			n.cycles(1, func() { n.apply("--no-tls").exits(done) })
			n.requireNoTLSLeft()
			require.NotContains(s, n.get().Annotations, v1alpha1.AnnotationAllowTLSRemoval)
			n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerA)
			require.NotEqual(s, first, s.leaf(n.certificateName()))
			require.Equal(s, []string{"v1", "v1", "v1", "v1"}, n.starts())
		},
	},
	{
		Name: "image-and-tls", Gate: tierReal,
		Happens: "Image and TLS change in one edit.",
		See:     "One plan with reason UpdateAndTLSToggleStarted, one pod cycle.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running()
			n.setImage(imageV2)
			n.setTLS(byIssuer(issuerA))
			n.cycles(1, func() { n.apply().exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.requireEvent(v1alpha1.ReasonUpdateAndTLSToggleStarted)
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
			require.Equal(s, []v1alpha1.PlanCause{v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift}, n.get().Status.LastPlan.Causes)
			require.Equal(s, []string{"v1", "v2"}, n.starts())
		},
	},
	{
		Name: "image-there-and-back", Gate: tierReal,
		Happens: "An image is updated and then taken back.",
		See:     "Each step is one pod cycle, and the status names the image that runs.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running()
			for _, image := range []string{imageV2, imageV1} {
				n.setImage(image)
				n.cycles(1, func() { n.apply().exits(done) })
				require.Equal(s, image, n.get().Status.CurrentImage)
			}
			require.Equal(s, []string{"v1", "v2", "v1"}, n.starts())
		},
	},
	{
		Name: "born-with-tls", Gate: tierReal,
		Happens: "A node is created with TLS in its spec.",
		See:     "Its first plan brings it up with TLS. No second pod cycle follows.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.cycles(0, func() { n.apply().exits(done) })
			require.Len(s, s.history.of(n.podName()), 1)
			require.Equal(s, []string{"v1"}, n.starts())
		},
	},
	{
		Name: "reached-by-name", Kubelet: "a Deployment looks names up in the cluster's DNS",
		Happens: "A service in the cluster calls a node's sidecar by name while TLS is turned on, and off again.",
		See: "Without TLS `http://<node>.<namespace>.svc.<domain>:7777` answers, with TLS https on port 8443: under this name and " +
			"that of the pod, `<node>-0.<node>.<namespace>.svc.<domain>`, with a certificate for both. Only one of the ports is " +
			"open at a time.",
		Do: "Have callers change over with the node: port 8443, the issuer's CA, and a token of audience sei-sidecar whose " +
			"ServiceAccount may get seinodetasks of the node's name.",
		Run: reachedByName,
	},
	{
		Name: "delete-and-recreate", Gate: tierReal,
		Happens: "The SeiNode is deleted, and created again under the same name.",
		See:     "Its PersistentVolumeClaim stays, and the new node adopts it: chain data survives.",
		Do:      "Delete data-<node> by hand when the data really is to go.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			claim := s.claim(n)
			s.delete(n.name, &v1alpha1.SeiNode{})
			n.awaitRemoval()
			require.Equal(s, claim, s.claim(n))
			n = s.running()
			require.Equal(s, claim, s.claim(n))
			require.Equal(s, []string{"v1", "v1"}, n.starts())
		},
	},
}
