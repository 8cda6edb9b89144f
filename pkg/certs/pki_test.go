package certs_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
)

// now is when everything is judged.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var names = certs.RequiredDNSNames("archive-0", "sei", "cluster.local")

// authority is a CA of the tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func newAuthority(t testing.TB, name string, parent *authority, notAfter time.Time) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-48 * time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageCertSign,
	}
	signer, parentCert := a.key, template
	if parent != nil {
		signer, parentCert = parent.key, parent.cert
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parentCert, a.key.Public(), signer)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(raw)
	require.NoError(t, err)
	return a
}

// issue signs a leaf for the required names, after change has had its way with the template.
func (a *authority) issue(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return cert
}

func certPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// tlsSecret is a Secret as cert-manager issues it from ClusterIssuer/sei-ca.
func tlsSecret(crt, key, ca []byte) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sei", Name: "archive-0-sidecar-tls", Annotations: map[string]string{
			"cert-manager.io/certificate-name": "archive-0-sidecar-tls",
			"cert-manager.io/issuer-name":      "sei-ca",
			"cert-manager.io/issuer-kind":      "ClusterIssuer",
			"cert-manager.io/issuer-group":     "cert-manager.io",
		}},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": crt, "tls.key": key},
	}
	if ca != nil {
		s.Data["ca.crt"] = ca
	}
	return s
}

func wantIssued() certs.Want {
	return certs.Want{
		Namespace: "sei", SecretName: "archive-0-sidecar-tls", DNSNames: names,
		TLS: v1alpha1.SidecarTLSConfig{IssuerName: "sei-ca"},
	}
}

func wantProvisioned() certs.Want {
	w := wantIssued()
	w.TLS = v1alpha1.SidecarTLSConfig{SecretName: w.SecretName}
	return w
}
