//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// authority is a CA of a scenario's own.
type authority struct {
	s    *S
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (s *S) authority() *authority {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s, err)
	a := &authority{s: s, key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of " + s.ns},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(s, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(s, err)
	return a
}

// pair is certificate and key in PEM for names.
func (a *authority) pair(from, until time.Time, names ...string) (certPEM, keyPEM []byte) {
	a.s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.s, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(a.s, err)
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.s, err)
	return pemOf("CERTIFICATE", der), keyPEMOf(a.s, key)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyPEMOf(s *S, key *ecdsa.PrivateKey) []byte {
	s.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(s, err)
	return pemOf("EC PRIVATE KEY", der)
}

// names are those that a node's certificate must have.
func (n *Node) names() []string {
	ns := n.s.ns
	return []string{
		fmt.Sprintf("%s.%s.svc.cluster.local", n.name, ns), fmt.Sprintf("%s-0.%s.%s.svc.cluster.local", n.name, n.name, ns),
	}
}

// secretFor is a sound TLS Secret for a node, as somebody else would provision it.
func (a *authority) secretFor(n *Node, name string) *corev1.Secret {
	a.s.Helper()
	cert, key := a.pair(time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour), n.names()...)
	return a.secret(name, cert, key)
}

func (a *authority) secret(name string, cert, key []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: a.s.ns},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key, "ca.crt": pemOf("CERTIFICATE", a.cert.Raw),
		},
	}
}

// issuer makes the authority an Issuer of cert-manager in the namespace; without its Secret when it is to be broken.
func (a *authority) issuer(name string, withSecret bool) {
	a.s.Helper()
	if withSecret {
		a.s.create(a.secret(name, pemOf("CERTIFICATE", a.cert.Raw), keyPEMOf(a.s, a.key)))
	}
	i := &cmv1.Issuer{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: a.s.ns}}
	i.Spec.CA = &cmv1.CAIssuer{SecretName: name}
	a.s.create(i)
	a.s.eventually("the issuer was looked at", func() error {
		var got cmv1.Issuer
		if err := a.s.get(name, &got); err != nil {
			return err
		}
		if len(got.Status.Conditions) == 0 {
			return errors.New("no condition yet")
		}
		return nil
	})
}

func byIssuer(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{IssuerName: name}
}

func bySecret(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{SecretName: name}
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// leaf is the fingerprint of the certificate in a Secret.
func (s *S) leaf(secret string) string {
	s.Helper()
	var o corev1.Secret
	require.NoError(s, s.get(secret, &o))
	block, _ := pem.Decode(o.Data[corev1.TLSCertKey])
	require.NotNil(s, block, "Secret %s", secret)
	return fingerprint(block.Bytes)
}

// served is the fingerprint of the leaf that the node's pod serves, as anybody's TLS client sees it, who trusts the CA in
// the Secret.
func (n *Node) served(secret string) string {
	n.s.Helper()
	var o corev1.Secret
	require.NoError(n.s, n.s.get(secret, &o))
	roots := x509.NewCertPool()
	require.True(n.s, roots.AppendCertsFromPEM(o.Data["ca.crt"]))
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: n.names()[0], MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(n.s.Context(), "tcp", net.JoinHostPort(n.pod().Status.PodIP, "8443"))
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		return fingerprint(refused.UnverifiedCertificates[0].Raw)
	}
	require.NoError(n.s, err)
	defer func() { _ = conn.Close() }()
	return fingerprint(conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw)
}

// requireTLS requires that the node runs TLS from a source ("ClusterIssuer/x", "Secret/x"): the status says so, and the
// served leaf, the Secret's and the one in the status are the same.
func (n *Node) requireTLS(source string) {
	n.s.Helper()
	current := n.get().Status.CurrentSidecarTLS
	require.Equal(n.s, source, current.Config().String())
	secret := n.certificateName()
	if current.SecretName != "" {
		secret = current.SecretName
	}
	leaf := n.s.leaf(secret)
	require.Equal(n.s, leaf, current.FingerprintSHA256, "fingerprint in the status against the Secret's")
	require.Equal(n.s, leaf, n.served(secret), "served leaf against the Secret's")
	require.NotNil(n.s, current.NotAfter)
	require.NotNil(n.s, current.ObservedAt)
	n.requireCondition(v1alpha1.ConditionSidecarTLSSecretReady, metav1.ConditionTrue, v1alpha1.ReasonTLSSecretReady)
}

// update writes a changed object.
func (s *S) update(o client.Object) {
	s.Helper()
	require.NoError(s, s.client.Update(s.Context(), o))
}

// delete deletes an object by name.
func (s *S) delete(name string, o client.Object) {
	s.Helper()
	o.SetName(name)
	o.SetNamespace(s.ns)
	require.NoError(s, s.client.Delete(s.Context(), o))
}
