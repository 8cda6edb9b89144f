//go:build e2e

package e2e

import (
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
)

// platforms are failures of what all nodes share: cert-manager's installation and the platform's settings.
var platforms = []Scenario{
	{
		Name: "cert-manager-absent", Catalogue: []int{7}, Alone: true, Gate: tierSim,
		Instead: []string{"NodeUpdate failed at apply-sidecar-cert; pod cycles: 0"},
		Happens: "TLS is turned on in a cluster that does not serve cert-manager's Certificates.",
		See:     "The plan fails and names the kind that is missing. The pod was not touched. Once it is there, an apply goes through.",
		Do:      "Install cert-manager with its CRDs, or provision the Secret and use secretName.",
		Run: func(s *S) {
			n := s.running()
			start := s.stopped("cert-manager")
			n.cycles(0, func() {
				const crd = "certificates.cert-manager.io"
				s.changeCRD(crd, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[0].Served = false })
				n.apply("--tls", "--issuer", issuerA).exits(failed).says("Certificate")
				n.requireServing()
				s.changeCRD(crd, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[0].Served = true })
			})
			start()
			n.cycles(1, func() { n.retry() })
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "webhook-down", Catalogue: []int{8}, Gate: tierSim,
		Instead: []string{"NodeUpdate failed at apply-sidecar-cert; pod cycles: 0"},
		Happens: "A webhook that must validate Certificates does not answer, as cert-manager's own when it is down.",
		See: "The Certificate cannot be written: the plan says so in the API server's words while it tries, and ends by its deadline. " +
			"The pod was not touched.",
		Do: "See to the webhook; then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := s.running()
			hook := s.deadWebhook()
			n.cycles(0, func() {
				n.apply("--tls", "--issuer", issuerA).exits(failed).says("webhook", "no-such-webhook")
				n.requireServing()
			})
			require.NoError(s, s.client.Delete(s.Context(), hook))
			n.cycles(1, func() { n.retry() })
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "proxy-image-unpullable", Catalogue: []int{31}, Alone: true,
		Instead: []string{"NodeUpdate failed at observe-sidecar-tls, NodeRollback complete, NodeRepair complete; pod cycles: 2"},
		Happens: "The settings name a proxy image that cannot be pulled, and TLS is turned on.",
		See:     "The node is rolled back and held. The message names the image, in kubelet's words. Other nodes keep their pods.",
		Do:      "Correct proxyImage in ConfigMap sei-system/seictl-config; then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := s.running()
			s.changeSettings(func(config string) string {
				return strings.Replace(config, "kube-rbac-proxy:v0.21.0", "kube-rbac-proxy:none", 1)
			})
			n.cycles(2, func() { n.apply("--tls", "--issuer", issuerA).exits(failed).says("kube-rbac-proxy:none") })
			n.requireRolledBack("kube-rbac-proxy:none")
			s.restoreSettings()
			n.cycles(1, func() { n.retry() })
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "proxy-image-unset", Catalogue: []int{31}, Alone: true, Gate: tierSim,
		Happens: "The settings name no proxy image, and TLS is turned on.",
		See:     "The update does not start, and the message names the setting. The pod is not touched. With an image the next apply goes through.",
		Do:      "Set proxyImage in ConfigMap sei-system/seictl-config.",
		Run: func(s *S) {
			n := s.running()
			s.changeSettings(func(config string) string {
				return strings.Replace(config, "lab.invalid/kube-rbac-proxy:v0.21.0", "''", 1)
			})
			n.cycles(0, func() { n.apply("--tls", "--issuer", issuerA).exits(failed).says("proxyImage", "seictl-config") })
			n.requireServing()
			s.restoreSettings()
			n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "converged-once", Catalogue: []int{36}, Alone: true,
		Happens: "A pipeline runs `seictl operator run --once` after specs were edited, where no operator is installed.",
		See: "What is due is carried out, and the exit code says how it came out: 0, 3 a node is paused, 4 one failed, 6 another " +
			"driver is at work, 124 the time is up. A second run writes nothing.",
		Do:  "What the line of the node says; then run it again.",
		Run: convergedOnce,
	},
}

// onceUser is who `seictl operator run --once` is in the audit log.
const onceUser = "pipeline"

// once carries out what is due.
func (s *S) once(args ...string) result {
	s.Helper()
	return s.run(append([]string{"operator", "run", "--once", "--port-forward", "--as=" + onceUser, "--as-group=system:masters"}, args...)...)
}

func convergedOnce(s *S) {
	n := s.running()
	set := func(issuer string, paused bool) {
		n.edit(func(o *v1alpha1.SeiNode) { o.Spec.Sidecar.TLS, o.Spec.Paused = byIssuer(issuer), paused })
	}
	n.cycles(1, func() {
		n.setTLS(byIssuer(issuerA))
		s.once().exits(done)
	})
	n.requireTLS("ClusterIssuer/" + issuerA)
	n.cycles(0, func() {
		offset := s.auditSize()
		s.once().exits(done)
		require.Empty(s, s.writesOf(offset, onceUser))

		set("no-such-ca", true)
		s.once().exits(paused).says(s.ns + "/ax-0 is paused")
		set("no-such-ca", false)
		s.once("--timeout", "3s").exits(timedOut)
		s.once().exits(failed).says(s.ns+"/ax-0 failed", "no-such-ca")
		set(issuerA, false)
		s.once().exits(done)

		other := s.command(s.seictl, nil, "operator", "run", "--metrics-bind-address=0", "--health-probe-bind-address=0", "--port-forward").start()
		s.eventually("the other driver holds the Lease", func() error {
			if !strings.HasPrefix(s.holder(), "operator/") {
				return errNotYet
			}
			return nil
		})
		s.once().exits(lockHeld).says("another driver is at work")
		other.signal(syscall.SIGTERM)
		other.wait().exits(done)
	})
	n.requireServing()
}

// deadWebhook has the API server ask a webhook that is not there about Certificates of the scenario's namespace.
func (s *S) deadWebhook() *admissionv1.ValidatingWebhookConfiguration {
	s.Helper()
	hook := &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "no-such-webhook.sei.io",
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{
				Namespace: s.ns, Name: "no-such-webhook",
			}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{"cert-manager.io"}, APIVersions: []string{"v1"}, Resources: []string{"certificates"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.ns}},
			SideEffects:             new(admissionv1.SideEffectClassNone),
			FailurePolicy:           new(admissionv1.Fail),
			TimeoutSeconds:          new(int32(2)),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	require.NoError(s, s.client.Create(s.Context(), hook))
	s.Cleanup(func() { _ = s.client.Delete(background(), hook) })
	return hook
}

// changeSettings changes the settings of the platform; they are as they were when the scenario ends.
func (s *S) changeSettings(change func(string) string) {
	s.Helper()
	var cm corev1.ConfigMap
	require.NoError(s, s.client.Get(s.Context(), settingsKey, &cm))
	savedSettings = cm.Data["config.yaml"]
	s.Cleanup(s.restoreSettings)
	cm.Data["config.yaml"] = change(savedSettings)
	require.NotEqual(s, savedSettings, cm.Data["config.yaml"])
	s.update(&cm)
}
