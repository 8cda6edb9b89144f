package tasks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
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

// testDNSNames are the names that the certificate of node alpha must cover.
var testDNSNames = certs.RequiredDNSNames("alpha", testNamespace, "cluster.local")

// authority is a CA of a test. Its certificates are valid around the real time, as handshakes use that.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return &authority{cert, key}
}

// pair is a leaf of an authority, as a Secret holds it.
type pair struct{ crt, key, ca []byte }

func (a *authority) issue(t *testing.T, names ...string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return pair{
		crt: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}),
		key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		ca:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}),
	}
}

func (p pair) tls(t *testing.T) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(p.crt, p.key)
	require.NoError(t, err)
	return c
}

func (p pair) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	return p.tls(t).Leaf
}

// secret is the TLS Secret of a configuration, annotated as cert-manager does for an issuer.
func (p pair) secret(tls *v1alpha1.SidecarTLSConfig) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: tls.SecretName, UID: "secret-uid"},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{"tls.crt": p.crt, "tls.key": p.key, "ca.crt": p.ca},
	}
	if tls.IssuerName != "" {
		s.Name = "alpha-sidecar-tls"
		s.Annotations = map[string]string{
			"cert-manager.io/certificate-name": s.Name, "cert-manager.io/issuer-name": tls.IssuerName,
			"cert-manager.io/issuer-kind": tls.IssuerKind, "cert-manager.io/issuer-group": "cert-manager.io",
		}
	}
	return s
}

// atWallTime makes the Env judge certificates by the time that handshakes use.
func atWallTime(env *Env) *Env {
	env.Now = time.Now
	return env
}
