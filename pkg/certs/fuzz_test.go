package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/pkg/certs"
)

// FuzzJudge: whatever is in a Secret, Judge does not panic, Ready is only what a TLS server and its clients accept, and
// no message repeats what was found in tls.key.
func FuzzJudge(f *testing.F) {
	ca := newAuthority(f, "ca", nil, now.Add(240*time.Hour))
	key := newKey(f)
	crt, pemKey, pemCA := certPEM(ca.issue(f, key, nil)), keyPEM(f, key), certPEM(ca.cert)
	f.Add(string(corev1.SecretTypeTLS), crt, pemKey, pemCA, "sei-ca", false)
	f.Add(string(corev1.SecretTypeTLS), append(crt, pemCA...), pemKey, []byte{}, "sei-ca", true)
	f.Add(string(corev1.SecretTypeTLS), pemKey, crt, pemKey, "", false)
	f.Add(string(corev1.SecretTypeTLS), crt[:len(crt)/2], pemKey, pemCA, "sei-ca", false)
	f.Add(string(corev1.SecretTypeTLS), garbage("CERTIFICATE"), garbage("PRIVATE KEY"), garbage("CERTIFICATE"), "sei-ca", false)
	f.Add(string(corev1.SecretTypeOpaque), []byte{}, []byte{}, []byte{}, "other", false)
	f.Fuzz(func(t *testing.T, secretType string, crt, key, caPEM []byte, issuer string, anyPair bool) {
		s := tlsSecret(crt, key, caPEM)
		s.Type = corev1.SecretType(secretType)
		s.Annotations["cert-manager.io/issuer-name"] = issuer
		want := wantIssued()
		want.AnySoundPair = anyPair
		v := certs.Judge(s, want, now)
		require.NotEmpty(t, v.Reason)
		requireNoKey(t, v.Message, key)
		if v.Ready {
			requireSound(t, s, v, anyPair)
		}
	})
}

func requireSound(t *testing.T, s *corev1.Secret, v certs.Verdict, anyPair bool) {
	t.Helper()
	require.Equal(t, corev1.SecretTypeTLS, s.Type)
	require.True(t, anyPair || s.Annotations["cert-manager.io/issuer-name"] == "sei-ca")
	pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
	require.NoError(t, err)
	require.True(t, bytes.Equal(pair.Certificate[0], v.Leaf.Raw), "the leaf that would be served")
	roots := x509.NewCertPool()
	roots.AddCert(v.Leaf)
	if len(v.CAs) > 0 {
		roots = x509.NewCertPool()
		for _, ca := range v.CAs {
			roots.AddCert(ca)
		}
	}
	between := x509.NewCertPool()
	for _, raw := range pair.Certificate[1:] {
		cert, err := x509.ParseCertificate(raw)
		require.NoError(t, err, "a client parses all that is served")
		between.AddCert(cert)
	}
	for _, name := range names {
		_, err := v.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, DNSName: name})
		require.NoError(t, err)
	}
}

func requireNoKey(t *testing.T, message string, key []byte) {
	t.Helper()
	block, _ := pem.Decode(key)
	if block == nil || len(block.Bytes) < 16 {
		return
	}
	require.NotContains(t, message, string(block.Bytes))
	for line := range strings.Lines(string(pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: block.Bytes}))) {
		if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
			require.NotContains(t, message, line)
		}
	}
}
