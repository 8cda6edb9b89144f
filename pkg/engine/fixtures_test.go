package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

func issuerTLS(name string) *v1alpha1.SidecarTLSConfig {
	return (&v1alpha1.SidecarTLSConfig{IssuerName: name}).Normalize()
}

func secretTLS(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{SecretName: name}
}

// running is a node on image v1 that is as it should be.
func running(tls *v1alpha1.SidecarTLSConfig) *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "sei", Name: "n0", UID: "node-uid", Generation: 1, Annotations: map[string]string{},
		},
		Spec: v1alpha1.SeiNodeSpec{
			ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{}, Sidecar: &v1alpha1.SidecarConfig{TLS: tls},
		},
		Status: v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1"},
	}
	if tls != nil {
		n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *tls, FingerprintSHA256: "f1"}
	}
	return n
}

// objects are what a running node owns, in revision r1, and its sound Secret.
func objects(t *testing.T, n *v1alpha1.SeiNode) []client.Object {
	t.Helper()
	owner, s := resources.OwnerOf(n), settings.Default()
	s.SidecarImage = "sidecar:v1"
	target := v1alpha1.PlanTarget{Image: n.Status.CurrentImage, SidecarTLS: n.Status.CurrentSidecarTLS.Config()}
	sts := resources.StatefulSet(owner, resources.NodeTemplateFor(n, target, s))
	sts.UID, sts.Status.UpdateRevision = "sts-uid", "r1"
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: n.Namespace, Name: "n0-0", UID: "pod-uid", Labels: map[string]string{appsv1.StatefulSetRevisionLabel: "r1"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(sts, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))},
		},
		Spec: sts.Spec.Template.Spec,
		Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			InitContainerStatuses: []corev1.ContainerStatus{{
				Name: resources.ContainerSidecar, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		},
	}
	out := []client.Object{sts, pod, resources.Service(owner, resources.ServiceParamsFor(n, target))}
	if tls := target.SidecarTLS; tls != nil {
		out = append(out, resources.ProxyConfig(owner, resources.RBACProxyConfigParamsFor(n)))
		if tls.IssuerName != "" {
			out = append(out, resources.Certificate(owner, resources.SidecarCertParamsFor(n, tls, s)))
		}
		out = append(out, pair(t, n, tls, t0.Add(time.Hour)))
	}
	return out
}

// pair is a sound Secret for a configuration, valid until a time.
func pair(t *testing.T, n *v1alpha1.SeiNode, tls *v1alpha1.SidecarTLSConfig, notAfter time.Time) *corev1.Secret {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p := resources.TLSSecretParamsFor(n, tls, settings.Default())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "n0"}, DNSNames: p.DNSNames,
		NotBefore: t0.Add(-time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: p.SecretName},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
		},
	}
	if tls.IssuerName != "" {
		s.Annotations = map[string]string{
			cmv1.CertificateNameKey: p.SecretName, cmv1.IssuerNameAnnotationKey: tls.IssuerName,
			cmv1.IssuerKindAnnotationKey: tls.IssuerKind, cmv1.IssuerGroupAnnotationKey: "cert-manager.io",
		}
	}
	return s
}

// stamp fills the fingerprint of the pair into the status, as an observer does.
func stamp(t *testing.T, n *v1alpha1.SeiNode, objs []client.Object) []client.Object {
	t.Helper()
	for _, o := range objs {
		if s, ok := o.(*corev1.Secret); ok {
			n.Status.CurrentSidecarTLS.FingerprintSHA256 = fingerprint(t, s)
		}
	}
	return objs
}

func leaf(t *testing.T, s *corev1.Secret) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(s.Data[corev1.TLSCertKey])
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

func fingerprint(t *testing.T, s *corev1.Secret) string {
	t.Helper()
	return certs.Fingerprint(leaf(t, s))
}

func condition(n *v1alpha1.SeiNode, conditionType string) string {
	for _, c := range n.Status.Conditions {
		if c.Type == conditionType {
			return strings.Join([]string{string(c.Status), c.Reason}, " ")
		}
	}
	return ""
}
