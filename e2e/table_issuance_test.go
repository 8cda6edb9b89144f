//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// issuances are certificates that do not come, or come from elsewhere.
var issuances = []Scenario{
	{
		Name: "issuer-missing", Catalogue: []int{1}, Gate: tierReal,
		Instead: []string{"NodeUpdate failed at wait-for-sidecar-tls-secret; pod cycles: 0"},
		Happens: "The issuer in the spec does not exist.",
		See:     "The plan ends by its deadline with cert-manager's own words, exit code 4. The pod was not touched, and the node serves on.",
		Do:      "Correct issuerName, or create the issuer and apply again.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(0, func() {
				n.apply("--tls", "--issuer", issuerNone).exits(failed).says(issuerNone, "not found")
			})
			n.requireUpdate(v1alpha1.ReasonUpdateFailed, issuerNone)
			n.requireServing()
			require.Equal(s, []string{"v1"}, n.starts())
		},
	},
	{
		Name: "issuer-of-the-other-kind", Catalogue: []int{2}, Gate: tierReal,
		Instead: []string{"NodeUpdate failed at wait-for-sidecar-tls-secret; pod cycles: 0"},
		Happens: "issuerKind says Issuer, and only a ClusterIssuer of that name exists.",
		See:     "The message names the kind that was looked for. The pod was not touched.",
		Do:      "Correct issuerKind.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(0, func() {
				n.apply("--tls", "--issuer", issuerA, "--issuer-kind", "Issuer").exits(failed).says("Issuer", issuerA, "not found")
			})
			n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "issuer-without-its-secret", Catalogue: []int{3, 4}, Gate: tierSim,
		Instead: []string{"NodeUpdate failed at wait-for-sidecar-tls-secret; pod cycles: 0"},
		Happens: "The issuer exists, but the Secret with its CA does not, so it is not Ready.",
		See:     "The plan ends by its deadline and says that the issuer is not Ready. Once the CA is there, an apply goes through.",
		Do:      "Restore the CA's Secret, then apply again.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			ca.issuer("own-ca", false)
			n.cycles(0, func() {
				n.apply("--tls", "--issuer", "own-ca", "--issuer-kind", "Issuer").exits(failed).says("Ready")
			})
			s.create(ca.secret("own-ca", pemOf("CERTIFICATE", ca.cert.Raw), keyPEMOf(s, ca.key)))
			n.cycles(1, func() { n.apply().exits(done) })
			n.requireTLS("Issuer/own-ca")
		},
	},
	{
		Name: "request-denied", Catalogue: []int{5, 6}, Alone: true, Gate: tierReal,
		Instead: []string{"NodeUpdate failed at wait-for-sidecar-tls-secret; pod cycles: 0"},
		Happens: "Requests need approval: nobody acts on one, then somebody denies it.",
		See:     "While nobody acts, the plan says that the request waits for approval. The denial ends the plan at once, in its own words.",
		Do:      "Have the request approved; after a denial, change the policy and `seictl node retry NAME`.",
		Run:     requestDenied,
	},
	{
		Name: "leftover-secret", Catalogue: []int{12}, Gate: tierReal,
		Happens: "A Secret of an earlier enable, from another issuer, is still there when TLS is turned on.",
		See:     "It is not taken for the new one: the plan waits until cert-manager has issued.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			left := ca.secretFor(n, n.certificateName())
			left.Annotations = map[string]string{
				"cert-manager.io/certificate-name": left.Name, "cert-manager.io/issuer-name": "old-ca",
				"cert-manager.io/issuer-kind": "Issuer", "cert-manager.io/issuer-group": "cert-manager.io",
			}
			s.create(left)
			old := s.leaf(left.Name)
			n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done) })
			n.requireTLS("ClusterIssuer/" + issuerA)
			require.NotEqual(s, old, n.served(left.Name))
		},
	},
	{
		Name: "unannotated-secret", Catalogue: []int{11}, Gate: tierSim,
		Perhaps: "failed at wait-for-sidecar-tls-secret", // cert-manager may as well choose to issue
		Happens: "A Secret that cert-manager did not write has the name of the issued one, and fits the Issuer.",
		See:     "cert-manager may adopt it without issuing; seictl does not take it for issued, and says so.",
		Do:      "Delete that Secret, or renew the Certificate.",
		Run: func(s *S) {
			n, ca := s.running(), s.authority()
			ca.issuer("own-ca", true)
			s.create(ca.secretFor(n, n.certificateName()))
			r := n.apply("--tls", "--issuer", "own-ca", "--issuer-kind", "Issuer")
			if r.code == done {
				// cert-manager chose to issue.
				n.requireTLS("Issuer/own-ca")
				return
			}
			r.exits(failed).says(n.certificateName())
			s.delete(n.certificateName(), &corev1.Secret{})
			n.cycles(1, func() { n.apply().exits(done) })
			n.requireTLS("Issuer/own-ca")
		},
	},
	{
		Name: "foreign-certificate", Catalogue: []int{13}, Gate: tierSim,
		Instead: []string{"NodeUpdate failed at apply-sidecar-cert; pod cycles: 0"},
		Happens: "Somebody else's Certificate has the name of the node's.",
		See:     "seictl does not touch it: the plan fails at once and names it. The pod was not touched.",
		Do:      "Rename or delete that Certificate.",
		Run: func(s *S) {
			n := s.running()
			theirs := certificateFor(s.ns, n.certificateName(), n.certificateName(), "somebody.example")
			s.create(theirs)
			n.cycles(0, func() {
				n.apply("--tls", "--issuer", issuerA).exits(failed).says("Certificate", n.certificateName())
			})
			require.Equal(s, []string{"somebody.example"}, n.certificate().Spec.DNSNames)
			n.requireServing()
		},
	},
	{
		Name: "two-certificates-one-secret", Catalogue: []int{14}, Gate: tierSim,
		Instead: []string{"NodeUpdate failed at wait-for-sidecar-tls-secret; pod cycles: 0"},
		Happens: "Another Certificate already writes the Secret that the node's Certificate would write.",
		See:     "The node's never gets issued: the plan ends by its deadline and names the Secret. The pod was not touched.",
		Do:      "Give the other Certificate another secretName.",
		Run: func(s *S) {
			n := s.running()
			theirs := certificateFor(s.ns, "theirs", n.certificateName(), "somebody.example")
			s.create(theirs)
			s.eventually("their certificate is issued", func() error {
				return s.get(n.certificateName(), &corev1.Secret{})
			})
			n.cycles(0, func() {
				n.apply("--tls", "--issuer", issuerA).exits(failed).says(n.certificateName())
			})
			n.requireServing()
		},
	},
}

// certificateFor is a Certificate as somebody else would write it.
func certificateFor(ns, name, secret string, names ...string) *cmapi.Certificate {
	return &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
		Spec: cmapi.CertificateSpec{
			SecretName: secret, DNSNames: names,
			IssuerRef: cmmeta.IssuerReference{Name: issuerA, Kind: "ClusterIssuer", Group: "cert-manager.io"},
		},
	}
}

func requestDenied(s *S) {
	n := s.running()
	s.withoutApprover()
	n.cycles(0, func() {
		apply := n.applying("--tls", "--issuer", issuerA)
		var request cmapi.CertificateRequest
		s.eventually("a request waits for approval", func() error {
			var list cmapi.CertificateRequestList
			if err := s.client.List(s.Context(), &list, client.InNamespace(s.ns)); err != nil {
				return err
			}
			if len(list.Items) != 1 {
				return fmt.Errorf("%d requests", len(list.Items))
			}
			request = list.Items[0]
			return nil
		})
		n.saysOf(v1alpha1.TaskWaitForSidecarTLSSecret, "approv")
		now := metav1.Now()
		request.Status.Conditions = append(request.Status.Conditions, cmapi.CertificateRequestCondition{
			Type: cmapi.CertificateRequestConditionDenied, Status: cmmeta.ConditionTrue, Reason: "policy",
			Message: "names in .svc are not for you", LastTransitionTime: &now,
		})
		require.NoError(s, s.client.Status().Update(s.Context(), &request))
		apply.wait().exits(failed).says("names in .svc are not for you")
	})
	n.requireServing()
}

// withoutApprover runs the lab's cert-manager without its approver until the scenario ends.
func (s *S) withoutApprover() {
	s.Helper()
	start := s.stopped("cert-manager")
	cache := os.Getenv("SEICTL_LAB_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		require.NoError(s, err)
		cache = filepath.Join(dir, "seictl-lab")
	}
	cmd := exec.Command(filepath.Join(cache, "bin", "labkube"), "cert-manager", "--approver=false",
		"--kubeconfig="+filepath.Join(s.labDir, "pki", "cert-manager.kubeconfig"),
		"--cluster-resource-namespace=cert-manager",
		"--healthz-address="+strings.TrimPrefix(tierURL(9403, 19403, ""), "http://"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(s, cmd.Start())
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		start()
	})
}
