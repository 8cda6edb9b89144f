// Package certs judges TLS Secrets and the state of their issuance. It is pure: it reads objects and the time it is given,
// and calls no service. No message that it returns holds any bytes of a Secret.
package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
)

// caKey is the key of the CA certificates in a TLS Secret; optional.
const caKey = "ca.crt"

// RequiredDNSNames are the names that the certificate of a node's sidecar must cover: that of its Service, and that of
// its pod.
func RequiredDNSNames(node, namespace, clusterDomain string) []string {
	service := node + "." + namespace + ".svc." + clusterDomain
	return []string{service, node + "-0." + service}
}

// Fingerprint is the SHA-256 of a certificate, in lower-case hex.
func Fingerprint(cert *x509.Certificate) string { return hexSHA256(cert.Raw) }

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Want says what a TLS Secret must be.
type Want struct {
	// Namespace of the Secret.
	Namespace string
	// SecretName of the Secret.
	SecretName string
	// TLS is the configuration that the Secret belongs to.
	TLS v1alpha1.SidecarTLSConfig
	// DNSNames that the certificate must cover.
	DNSNames []string
	// AnySoundPair accepts a pair of another issuer.
	AnySoundPair bool
}

// Verdict is what we say of a TLS Secret. What could be read of the certificate is filled in even when it is not Ready.
type Verdict struct {
	// Ready says that the Secret is sound.
	Ready bool
	// Unknown says that the Secret could not be read: nothing is known of it, and nothing is called absent.
	Unknown bool
	// Reason is a reason of the condition SidecarTLSSecretReady.
	Reason string
	// Message names the Secret, what was found and what was wanted. It does not change while the Secret does not.
	Message string
	// FingerprintSHA256 of the leaf, in lower-case hex; empty when there is none.
	FingerprintSHA256 string
	// NotBefore and NotAfter of the leaf.
	NotBefore, NotAfter time.Time
	// Leaf is the first certificate in tls.crt; nil when there is none.
	Leaf *x509.Certificate
	// CAs are the certificates in ca.crt.
	CAs []*x509.Certificate
	// SecretSHA256 is the SHA-256 of tls.crt, in lower-case hex; empty when there is none.
	SecretSHA256 string
}

// Unavailable is the verdict on a Secret that could not be read for another reason than absence.
func Unavailable(err error) Verdict {
	return Verdict{
		Unknown: true,
		Reason:  v1alpha1.ReasonTLSSecretUnavailable,
		Message: fmt.Sprintf("the TLS Secret could not be read: %v", err),
	}
}

// Judge says whether a Secret is what is wanted; nil stands for one that does not exist. Of several faults it reports the
// first in the order of the reasons in the API.
func Judge(secret *corev1.Secret, want Want, now time.Time) Verdict {
	j := &judgement{secret: secret, want: want, now: now}
	for _, check := range checks {
		if reason, message := check(j); reason != "" {
			j.verdict.Reason, j.verdict.Message = reason, message
			return j.verdict
		}
	}
	j.verdict.Ready = true
	j.verdict.Reason = v1alpha1.ReasonTLSSecretReady
	j.verdict.Message = fmt.Sprintf("%s holds a certificate of %s that is valid until %s",
		j.name(), want.TLS.String(), stamp(j.verdict.NotAfter))
	return j.verdict
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
