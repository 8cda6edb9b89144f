package certs_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
)

// scene is a sound Secret and what is wanted of it; cases spoil it.
type scene struct {
	t      *testing.T
	ca     *authority
	key    crypto.Signer
	secret *corev1.Secret
	want   certs.Want
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, ca: newAuthority(t, "ca", nil, now.Add(240*time.Hour)), key: newKey(t), want: wantIssued()}
	s.reissue(nil)
	return s
}

// reissue fills the Secret with a changed certificate.
func (s *scene) reissue(change func(*x509.Certificate)) {
	s.secret = tlsSecret(certPEM(s.ca.issue(s.t, s.key, change)), keyPEM(s.t, s.key), certPEM(s.ca.cert))
}

func TestRequiredDNSNames(t *testing.T) {
	require.Equal(t, []string{"n.ns.svc.example.org", "n-0.n.ns.svc.example.org"}, certs.RequiredDNSNames("n", "ns", "example.org"))
}

func TestJudgeSound(t *testing.T) {
	s := newScene(t)
	for name, want := range map[string]certs.Want{"issued": wantIssued(), "provisioned": wantProvisioned()} {
		t.Run(name, func(t *testing.T) {
			v := certs.Judge(s.secret, want, now)
			require.True(t, v.Ready, v.Message)
			require.False(t, v.Unknown)
			require.Equal(t, v1alpha1.ReasonTLSSecretReady, v.Reason)
			require.Contains(t, v.Message, "Secret sei/archive-0-sidecar-tls")
			require.Contains(t, v.Message, "2026-03-02T12:00:00Z")
			require.Equal(t, certs.Fingerprint(v.Leaf), v.FingerprintSHA256)
			require.Equal(t, strings.ToLower(v.FingerprintSHA256), v.FingerprintSHA256)
			require.Len(t, v.SecretSHA256, 64)
			require.NotEqual(t, v.FingerprintSHA256, v.SecretSHA256, "one is of the certificate, one of the file")
			require.True(t, v.NotAfter.Equal(now.Add(24*time.Hour)))
			require.Len(t, v.CAs, 1)
		})
	}
}

func TestJudgeSoundVariants(t *testing.T) {
	for name, arrange := range map[string]func(*scene){
		"no ca.crt":    func(s *scene) { delete(s.secret.Data, "ca.crt") },
		"empty ca.crt": func(s *scene) { s.secret.Data["ca.crt"] = []byte{} },
		"a wildcard": func(s *scene) {
			s.reissue(func(c *x509.Certificate) { c.DNSNames = []string{"*.sei.svc.cluster.local", names[1]} })
		},
		"more names": func(s *scene) {
			s.reissue(func(c *x509.Certificate) { c.DNSNames = append([]string{"x.example.test"}, names...) })
		},
		"upper case": func(s *scene) {
			s.reissue(func(c *x509.Certificate) { c.DNSNames = []string{strings.ToUpper(names[0]), names[1]} })
		},
		"no extended usage": func(s *scene) { s.reissue(func(c *x509.Certificate) { c.ExtKeyUsage = nil }) },
		"any usage": func(s *scene) {
			s.reissue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })
		},
		"last second":  func(s *scene) { s.reissue(func(c *x509.Certificate) { c.NotAfter = now }) },
		"first second": func(s *scene) { s.reissue(func(c *x509.Certificate) { c.NotBefore = now }) },
		"text around the PEM": func(s *scene) {
			s.secret.Data["tls.crt"] = append([]byte("subject=somebody\n"), s.secret.Data["tls.crt"]...)
		},
		"Ed25519": func(s *scene) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			require.NoError(s.t, err)
			s.key = key
			s.reissue(nil)
		},
		"RSA in PKCS#1": func(s *scene) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			require.NoError(s.t, err)
			s.key = key
			s.reissue(nil)
			s.secret.Data["tls.key"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		},
		"an intermediate": func(s *scene) {
			between := newAuthority(s.t, "between", s.ca, now.Add(200*time.Hour))
			s.secret = tlsSecret(certPEM(between.issue(s.t, s.key, nil), between.cert), keyPEM(s.t, s.key), certPEM(s.ca.cert))
		},
		"ca.crt is the intermediate": func(s *scene) {
			between := newAuthority(s.t, "between", s.ca, now.Add(200*time.Hour))
			s.secret = tlsSecret(certPEM(between.issue(s.t, s.key, nil)), keyPEM(s.t, s.key), certPEM(between.cert))
		},
		"self-signed, its own ca.crt": func(s *scene) {
			leaf := (&authority{cert: &x509.Certificate{}, key: s.key}).issue(s.t, s.key, nil)
			s.secret = tlsSecret(certPEM(leaf), keyPEM(s.t, s.key), certPEM(leaf))
		},
		"annotations with cert-manager's defaults left out": func(s *scene) {
			s.want.TLS.IssuerKind = "Issuer"
			delete(s.secret.Annotations, "cert-manager.io/issuer-kind")
			delete(s.secret.Annotations, "cert-manager.io/issuer-group")
			delete(s.secret.Annotations, "cert-manager.io/certificate-name")
		},
		"another issuer, any sound pair": func(s *scene) {
			s.secret.Annotations["cert-manager.io/issuer-name"] = "old-ca"
			s.want.AnySoundPair = true
		},
		"another issuer, provisioned": func(s *scene) {
			s.secret.Annotations["cert-manager.io/issuer-name"] = "old-ca"
			s.want = wantProvisioned()
		},
		"no annotations, provisioned": func(s *scene) { s.secret.Annotations, s.want = nil, wantProvisioned() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			arrange(s)
			v := certs.Judge(s.secret, s.want, now)
			require.True(t, v.Ready, "%s: %s", v.Reason, v.Message)
		})
	}
}

func TestJudgeUnsound(t *testing.T) {
	malformed := v1alpha1.ReasonTLSSecretMalformed
	for name, c := range map[string]struct {
		arrange func(*scene)
		reason  string
		says    []string
	}{
		"absent, issued": {
			func(s *scene) { s.secret = nil }, v1alpha1.ReasonTLSSecretNotFound,
			[]string{"does not exist", "ClusterIssuer/sei-ca", "Certificate sei/archive-0-sidecar-tls"},
		},
		"absent, provisioned": {
			func(s *scene) { s.secret, s.want = nil, wantProvisioned() }, v1alpha1.ReasonTLSSecretNotFound,
			[]string{"does not exist", "provision a kubernetes.io/tls Secret", names[0], names[1]},
		},
		"wrong type":  {func(s *scene) { s.secret.Type = corev1.SecretTypeOpaque }, malformed, []string{`"Opaque"`, `"kubernetes.io/tls"`}},
		"no key":      {func(s *scene) { delete(s.secret.Data, "tls.key") }, malformed, []string{"tls.key missing or empty"}},
		"empty crt":   {func(s *scene) { s.secret.Data["tls.crt"] = nil }, malformed, []string{"tls.crt missing or empty"}},
		"no data":     {func(s *scene) { s.secret.Data = nil }, malformed, []string{"tls.crt and tls.key missing or empty"}},
		"no PEM":      {func(s *scene) { s.secret.Data["tls.crt"] = []byte("hello") }, malformed, []string{"tls.crt holds no PEM"}},
		"mixed up":    {func(s *scene) { s.secret.Data["tls.crt"] = s.secret.Data["tls.key"] }, malformed, []string{"mixed up with tls.key"}},
		"no X.509":    {func(s *scene) { s.secret.Data["tls.crt"] = garbage("CERTIFICATE") }, malformed, []string{"tls.crt does not parse", "number 1"}},
		"bad second":  {func(s *scene) { s.secret.Data["tls.crt"] = append(s.secret.Data["tls.crt"], garbage("CERTIFICATE")...) }, malformed, []string{"number 2"}},
		"key garbage": {func(s *scene) { s.secret.Data["tls.key"] = garbage("PRIVATE KEY") }, malformed, []string{"tls.key does not parse"}},
		"key no PEM":  {func(s *scene) { s.secret.Data["tls.key"] = []byte("x") }, malformed, []string{"tls.key does not parse"}},
		"another key": {func(s *scene) { s.secret.Data["tls.key"] = keyPEM(s.t, newKey(s.t)) }, malformed, []string{"is not the key of the certificate"}},
		"ca garbage":  {func(s *scene) { s.secret.Data["ca.crt"] = []byte("ca") }, malformed, []string{"ca.crt holds no PEM"}},
		"ca no X.509": {func(s *scene) { s.secret.Data["ca.crt"] = garbage("CERTIFICATE") }, malformed, []string{"ca.crt does not parse"}},
		"another ca": {
			func(s *scene) {
				s.secret.Data["ca.crt"] = certPEM(newAuthority(s.t, "other", nil, now.Add(time.Hour)).cert)
			},
			malformed, []string{"does not chain to ca.crt"},
		},
		"a client certificate": {
			func(s *scene) {
				s.reissue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
			},
			malformed, []string{"server authentication"},
		},
		"expired": {
			func(s *scene) { s.reissue(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }) },
			v1alpha1.ReasonTLSSecretExpired, []string{"expired at 2026-03-01T11:59:59Z"},
		},
		"expired ca": {
			func(s *scene) {
				s.ca = newAuthority(s.t, "old", nil, now.Add(-time.Minute))
				s.reissue(nil)
			}, v1alpha1.ReasonTLSSecretExpired, []string{"CA certificate"},
		},
		"not yet valid": {
			func(s *scene) { s.reissue(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }) },
			v1alpha1.ReasonTLSSecretNotYetValid, []string{"valid from 2026-03-01T12:00:01Z"},
		},
		"another issuer": {
			func(s *scene) { s.secret.Annotations["cert-manager.io/issuer-name"] = "old-ca" },
			v1alpha1.ReasonTLSSecretIssuerMismatch, []string{"issued by ClusterIssuer/old-ca", "wanted ClusterIssuer/sei-ca"},
		},
		"another kind": {
			func(s *scene) { s.secret.Annotations["cert-manager.io/issuer-kind"] = "Issuer" },
			v1alpha1.ReasonTLSSecretIssuerMismatch, []string{"issued by Issuer/sei-ca", "wanted ClusterIssuer/sei-ca"},
		},
		"another group": {
			func(s *scene) { s.secret.Annotations["cert-manager.io/issuer-group"] = "awspca.cert-manager.io" },
			v1alpha1.ReasonTLSSecretIssuerMismatch, []string{"ClusterIssuer/sei-ca of group awspca.cert-manager.io"},
		},
		"made by hand": {
			func(s *scene) { s.secret.Annotations = nil }, v1alpha1.ReasonTLSSecretIssuerMismatch,
			[]string{"not issued by cert-manager for this Certificate", "probably created by hand: delete it or choose another name"},
		},
		"another Certificate's": {
			func(s *scene) { s.secret.Annotations["cert-manager.io/certificate-name"] = "theirs" },
			v1alpha1.ReasonTLSSecretIssuerMismatch, []string{"issued for Certificate theirs", "wanted Certificate archive-0-sidecar-tls"},
		},
		"one name lacks": {
			func(s *scene) { s.reissue(func(c *x509.Certificate) { c.DNSNames = names[:1] }) },
			v1alpha1.ReasonTLSSecretSANsMismatch, []string{"does not cover " + names[1] + ";", "has only " + names[0]},
		},
		"a wildcard covers one label": {
			func(s *scene) {
				s.reissue(func(c *x509.Certificate) { c.DNSNames = []string{"*.sei.svc.cluster.local"} })
			},
			v1alpha1.ReasonTLSSecretSANsMismatch, []string{"does not cover " + names[1] + ";"},
		},
		"no names": {
			func(s *scene) { s.reissue(func(c *x509.Certificate) { c.DNSNames = nil }) },
			v1alpha1.ReasonTLSSecretSANsMismatch, []string{names[0] + " and " + names[1], "no DNS names"},
		},
		"the common name does not count": {
			func(s *scene) {
				s.reissue(func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, names[0] })
			},
			v1alpha1.ReasonTLSSecretSANsMismatch, []string{names[0]},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c.arrange(s)
			v := certs.Judge(s.secret, s.want, now)
			require.False(t, v.Ready)
			require.False(t, v.Unknown)
			require.Equal(t, c.reason, v.Reason, v.Message)
			require.Contains(t, v.Message, "Secret sei/archive-0-sidecar-tls")
			for _, says := range c.says {
				require.Contains(t, v.Message, says)
			}
		})
	}
}

func garbage(blockType string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: []byte("neither key nor certificate")})
}

// The order of the reasons is part of the API: of all faults at once the first is reported, and mending it brings the next.
func TestJudgeOrder(t *testing.T) {
	s := newScene(t)
	other := s.ca.issue(t, s.key, func(c *x509.Certificate) {
		c.DNSNames, c.NotBefore, c.NotAfter = nil, now.Add(time.Hour), now.Add(-time.Hour)
	})
	sound := s.secret
	s.secret = tlsSecret(certPEM(other), nil, nil)
	s.secret.Type, s.secret.Annotations = corev1.SecretTypeOpaque, nil
	step := func(reason, says string) {
		t.Helper()
		v := certs.Judge(s.secret, s.want, now)
		require.Equal(t, reason, v.Reason, v.Message)
		require.Contains(t, v.Message, says)
	}
	require.Equal(t, v1alpha1.ReasonTLSSecretNotFound, certs.Judge(nil, s.want, now).Reason)
	step(v1alpha1.ReasonTLSSecretMalformed, "type")
	s.secret.Type = corev1.SecretTypeTLS
	step(v1alpha1.ReasonTLSSecretMalformed, "empty")
	s.secret.Data["tls.key"] = garbage("PRIVATE KEY")
	step(v1alpha1.ReasonTLSSecretMalformed, "parse")
	s.secret.Data["tls.key"] = keyPEM(t, newKey(t))
	step(v1alpha1.ReasonTLSSecretMalformed, "not the key")
	s.secret.Data["tls.key"] = keyPEM(t, s.key)
	step(v1alpha1.ReasonTLSSecretExpired, "expired")
	s.secret.Data["tls.crt"] = certPEM(s.ca.issue(t, s.key, func(c *x509.Certificate) { c.DNSNames, c.NotBefore = nil, now.Add(time.Hour) }))
	step(v1alpha1.ReasonTLSSecretNotYetValid, "valid from")
	s.secret.Data["tls.crt"] = certPEM(s.ca.issue(t, s.key, func(c *x509.Certificate) { c.DNSNames = nil }))
	step(v1alpha1.ReasonTLSSecretIssuerMismatch, "by hand")
	s.secret.Annotations = sound.Annotations
	step(v1alpha1.ReasonTLSSecretSANsMismatch, "does not cover")
	s.secret.Data["tls.crt"] = sound.Data["tls.crt"]
	step(v1alpha1.ReasonTLSSecretReady, "valid until")
}

// On an issuer swap the old pair is still there, readable and valid.
func TestJudgeIssuerSwapWithTheOldPair(t *testing.T) {
	s := newScene(t)
	s.want.TLS = v1alpha1.SidecarTLSConfig{IssuerName: "new-ca"}
	v := certs.Judge(s.secret, s.want, now)
	require.Equal(t, v1alpha1.ReasonTLSSecretIssuerMismatch, v.Reason)
	require.NotEmpty(t, v.FingerprintSHA256, "what is there is still told")
}

func TestJudgeWhatAnySoundPairDoesNotSkip(t *testing.T) {
	for name, change := range map[string]func(*x509.Certificate){
		"expired": func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) },
		"names":   func(c *x509.Certificate) { c.DNSNames = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.want.AnySoundPair = true
			s.reissue(change)
			require.False(t, certs.Judge(s.secret, s.want, now).Ready)
		})
	}
}

func TestJudgeFollowsTheCertificateInTheFile(t *testing.T) {
	s := newScene(t)
	a := certs.Judge(s.secret, s.want, now)
	s.secret.Labels = map[string]string{"touched": "yes"}
	require.Equal(t, a.SecretSHA256, certs.Judge(s.secret, s.want, now).SecretSHA256)
	s.reissue(nil)
	require.NotEqual(t, a.SecretSHA256, certs.Judge(s.secret, s.want, now).SecretSHA256)
}

func TestUnavailable(t *testing.T) {
	v := certs.Unavailable(errors.New("secrets \"x\" is forbidden"))
	require.True(t, v.Unknown)
	require.False(t, v.Ready)
	require.Equal(t, v1alpha1.ReasonTLSSecretUnavailable, v.Reason)
	require.Contains(t, v.Message, "is forbidden")
}
