//go:build e2e

package e2e

import (
	"fmt"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
)

// edits are changes of mind, and edits that seictl does not take at their word.
var edits = []Scenario{
	{
		Name: "removal-without-consent", Catalogue: []int{27}, Gate: tierReal,
		Happens: "spec.sidecar.tls disappears without the annotation that allows it, as when a GitOps tool reverts the field. Later " +
			"an image update follows.",
		See: "The node keeps TLS and says so: event RemovalNeedsConsent, a warning in plan and status. The image update keeps TLS, too.",
		Do:  "To remove TLS: `seictl node apply NAME --no-tls`. To keep it, put the field back.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			n.setTLS(nil)
			n.cycles(0, func() { n.apply().exits(done).says(v1alpha1.AnnotationAllowTLSRemoval) })
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.setImage(imageV2)
			n.cycles(1, func() { n.apply().exits(done) })
			n.requireEvent(v1alpha1.ReasonRemovalNeedsConsent)
			n.requireTLS("ClusterIssuer/" + issuerA)
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
		},
	},
	{
		Name: "reverted-after-apply", Catalogue: []int{35}, Gate: tierSim,
		Instead: []string{
			"NodeUpdate superseded, NodeRollback complete, NodeRepair complete; pod cycles: 0",
			"NodeRollback complete, NodeRepair complete",
		},
		Happens: "An edit is taken back right after its plan changed the StatefulSet, before the pod was replaced.",
		See: "A NodeRollback puts the template back, so that the next eviction brings nothing new. The pod is not touched; " +
			"NodeUpdateInProgress is False with reason Superseded.",
		Do: "Nothing.",
		Run: func(s *S) {
			n := s.running()
			before := n.statefulSet()
			n.cycles(0, func() {
				n.applyKilledAt("applied/apply-statefulset", "--tls", "--issuer", issuerA).exits(killed)
				require.NotEqual(s, before.Spec.Template, n.statefulSet().Spec.Template)
				n.setTLS(nil)
				n.apply().exits(done)
			})
			n.requireUpdate(v1alpha1.ReasonSuperseded)
			require.Equal(s, before.Spec.Template, n.statefulSet().Spec.Template)
			n.requireNoTLSLeft()
			n.requireReady()
			require.Equal(s, []string{"v1"}, n.starts())
		},
	},
	{
		Name: "image-corrected", Catalogue: []int{35},
		Instead: []string{"NodeUpdate superseded, NodeUpdate complete; pod cycles: 2"},
		Happens: "An image that cannot be pulled is corrected while the new pod hangs on it.",
		See:     "The plan under way gives way to one for the corrected image at once, without waiting for its deadline.",
		Do:      "Correct spec.image.",
		Run: func(s *S) {
			n := s.running()
			n.setImage(imageNone)
			apply := n.applying()
			n.podWhen("the image cannot be pulled", pullFails)
			n.setImage(imageV2)
			apply.wait().exits(done)
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
			n.requireReady()
			require.Equal(s, []string{"v1", "v2"}, n.starts())
			require.Len(s, n.settledPods(), 3)
		},
	},
	{
		Name: "certificate-deleted", Gate: tierReal,
		Happens: "Somebody deletes the node's Certificate.",
		See:     "A NodeRepair puts it back. The pod is not touched.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			old := n.certificate().UID
			s.delete(n.certificateName(), &cmv1.Certificate{})
			n.cycles(0, func() { n.apply().exits(done) })
			require.NotEqual(s, old, n.certificate().UID)
			require.Equal(s, v1alpha1.NodeRepair, n.get().Status.LastPlan.Kind)
			n.requireReady()
		},
	},
	{
		Name: "swap-taken-back", Catalogue: []int{1, 9},
		Instead: []string{"NodeUpdate failed at wait-for-sidecar-tls-secret"},
		Happens: "The issuer is swapped for one that does not exist, and the edit is taken back.",
		See: "The swap fails by its deadline in cert-manager's words, while the node goes on serving the old certificate. Once it is " +
			"taken back, the Certificate names the old issuer again.",
		Do: "Correct issuerName or take the edit back.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			n.cycles(0, func() {
				n.apply("--tls", "--issuer", issuerNone).exits(failed).says(issuerNone, "not found")
				n.requireServing()
				require.Equal(s, issuerNone, n.certificate().Spec.IssuerRef.Name)
				n.apply("--tls", "--issuer", issuerA).exits(done)
			})
			require.Equal(s, issuerA, n.certificate().Spec.IssuerRef.Name)
			require.Equal(s, "ClusterIssuer/"+issuerA, n.get().Status.CurrentSidecarTLS.Config().String())
			// cert-manager issues anew for the old issuer: a renewal like any other.
			s.eventually("the node serves what was issued", func() error {
				if c := n.certificate(); issuing(c) {
					return fmt.Errorf("certificate: %v", c.Status.Conditions)
				}
				return same(s.leaf(n.certificateName()), n.served(n.certificateName()))
			})
			s.run("node", "verify", n.name, "-n", s.ns).exits(done)
		},
	},
	{
		Name: "issuer-corrected", Catalogue: []int{1, 35},
		Instead: []string{"NodeUpdate superseded, NodeUpdate complete"},
		Happens: "The name of a missing issuer is corrected while the plan waits for the certificate.",
		See:     "The plan under way gives way to one for the right issuer at once: one pod cycle.",
		Do:      "Correct issuerName.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				apply := n.applying("--tls", "--issuer", issuerNone)
				n.doing(v1alpha1.TaskWaitForSidecarTLSSecret)
				n.setTLS(byIssuer(issuerA))
				apply.wait().exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "paused", Catalogue: []int{38}, Gate: tierReal,
		Happens: "spec.paused is true while the spec is edited.",
		See:     "Nothing runs; exit code 3. Plan and status show the drift. Unpaused, the next apply goes on.",
		Do:      "Set spec.paused to false.",
		Run: func(s *S) {
			n := s.running()
			n.edit(func(o *v1alpha1.SeiNode) { o.Spec.Paused = true })
			n.cycles(0, func() { n.apply("--tls", "--issuer", issuerA).exits(paused).says("paused") })
			n.edit(func(o *v1alpha1.SeiNode) { o.Spec.Paused = false })
			n.cycles(1, func() { n.apply().exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
}

// issuing says whether cert-manager is at work on a Certificate, or has not looked at its current generation.
func issuing(c *cmv1.Certificate) bool {
	ready := false
	for _, cond := range c.Status.Conditions {
		switch {
		case cond.Type == cmv1.CertificateConditionIssuing && cond.Status == cmmeta.ConditionTrue:
			return true
		case cond.Type == cmv1.CertificateConditionReady:
			ready = cond.Status == cmmeta.ConditionTrue && cond.ObservedGeneration == c.Generation
		}
	}
	return !ready
}

// pullFails says that a container of the pod waits for an image that cannot be pulled.
func pullFails(p *corev1.Pod) bool {
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			if w := statuses[i].State.Waiting; w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff") {
				return true
			}
		}
	}
	return false
}
