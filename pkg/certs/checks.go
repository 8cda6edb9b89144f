package certs

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
)

// judgement is one Secret under judgement. Checks fill in the verdict as they learn of the certificate.
type judgement struct {
	secret  *corev1.Secret
	want    Want
	now     time.Time
	verdict Verdict
	// chain is tls.crt: the leaf and its intermediates.
	chain []*x509.Certificate
}

// check returns a reason and a message when something is wrong.
type check func(*judgement) (reason, message string)

// checks in order. What a check relies on was established by those before it; the order of the reasons is part of the API.
var checks = []check{
	found,
	rightType,
	keysPresent,
	certificatesParse,
	pairMatches,
	servesTLS,
	notExpired,
	validAlready,
	chainsToCA,
	rightIssuer,
	coversNames,
}

func (j *judgement) name() string { return "Secret " + j.want.Namespace + "/" + j.want.SecretName }

func (j *judgement) malformed(format string, args ...any) (string, string) {
	return v1alpha1.ReasonTLSSecretMalformed, j.name() + ": " + fmt.Sprintf(format, args...)
}

func found(j *judgement) (string, string) {
	if j.secret != nil {
		return "", ""
	}
	wanted := "provision a kubernetes.io/tls Secret with tls.crt and tls.key for " + strings.Join(j.want.DNSNames, " and ")
	if j.want.TLS.IssuerName != "" {
		wanted = "cert-manager issues it from " + j.want.TLS.String() + " for Certificate " + j.want.Namespace + "/" + j.want.SecretName
	}
	return v1alpha1.ReasonTLSSecretNotFound, j.name() + " does not exist: " + wanted
}

func rightType(j *judgement) (string, string) {
	if j.secret.Type == corev1.SecretTypeTLS {
		return "", ""
	}
	return j.malformed("its type is %q, wanted %q; a Secret's type cannot be changed: delete it and create it again",
		j.secret.Type, corev1.SecretTypeTLS)
}

func keysPresent(j *judgement) (string, string) {
	if crt := j.secret.Data[corev1.TLSCertKey]; len(crt) > 0 {
		j.verdict.SecretSHA256 = hexSHA256(crt)
	}
	var empty []string
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(j.secret.Data[key]) == 0 {
			empty = append(empty, key)
		}
	}
	if len(empty) == 0 {
		return "", ""
	}
	return j.malformed("%s missing or empty, wanted a certificate in tls.crt and its private key in tls.key",
		strings.Join(empty, " and "))
}

func certificatesParse(j *judgement) (string, string) {
	var fault string
	if j.chain, fault = parseCertificates(j.secret.Data[corev1.TLSCertKey]); fault != "" {
		return j.malformed("tls.crt %s", fault)
	}
	leaf := j.chain[0]
	j.verdict.Leaf, j.verdict.FingerprintSHA256 = leaf, Fingerprint(leaf)
	j.verdict.NotBefore, j.verdict.NotAfter = leaf.NotBefore, leaf.NotAfter
	// Some issuers leave an empty ca.crt behind: that is no CA, not a bad one.
	ca := j.secret.Data[caKey]
	if len(ca) == 0 {
		return "", ""
	}
	if j.verdict.CAs, fault = parseCertificates(ca); fault != "" {
		return j.malformed("ca.crt %s", fault)
	}
	return "", ""
}

// parseCertificates returns the certificates of a PEM file, or what is wrong with it. The parser's own words are left out:
// they may quote what they choke on, and nobody knows what was put there by mistake.
func parseCertificates(data []byte) ([]*x509.Certificate, string) {
	var out []*x509.Certificate
	other := false
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			other = true
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Sprintf("does not parse: its certificate number %d is not valid X.509", len(out)+1)
		}
		out = append(out, cert)
	}
	switch {
	case len(out) > 0:
		return out, ""
	case other:
		return nil, "holds PEM but no CERTIFICATE, wanted a certificate in PEM (is it mixed up with tls.key?)"
	default:
		return nil, "holds no PEM, wanted a certificate in PEM"
	}
}

// pairMatches asks the function that the proxy loads the pair with. Its error is not repeated: it may quote the input.
func pairMatches(j *judgement) (string, string) {
	crt, key := j.secret.Data[corev1.TLSCertKey], j.secret.Data[corev1.TLSPrivateKeyKey]
	_, err := tls.X509KeyPair(crt, key)
	switch {
	case err == nil:
		return "", ""
	case hasPrivateKey(key):
		return j.malformed("the private key in tls.key is not the key of the certificate in tls.crt (SHA-256 %s)",
			j.verdict.FingerprintSHA256)
	default:
		return j.malformed("tls.key does not parse, wanted an unencrypted private key in PEM (PKCS#1, PKCS#8 or SEC 1)")
	}
}

func hasPrivateKey(data []byte) bool {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return true
		}
		if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return true
		}
		if _, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return true
		}
	}
	return false
}

// servesTLS refuses a certificate whose extended key usage rules out server authentication: every client would refuse it.
func servesTLS(j *judgement) (string, string) {
	leaf := j.verdict.Leaf
	usages := leaf.ExtKeyUsage
	if len(usages) == 0 && len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(usages, x509.ExtKeyUsageServerAuth) || slices.Contains(usages, x509.ExtKeyUsageAny) {
		return "", ""
	}
	return j.malformed("the certificate in tls.crt is not for server authentication, wanted the usage \"server auth\"")
}

func notExpired(j *judgement) (string, string) {
	if !j.now.After(j.verdict.NotAfter) {
		return "", ""
	}
	return v1alpha1.ReasonTLSSecretExpired, fmt.Sprintf("%s: the certificate expired at %s; renew it",
		j.name(), stamp(j.verdict.NotAfter))
}

func validAlready(j *judgement) (string, string) {
	if !j.now.Before(j.verdict.NotBefore) {
		return "", ""
	}
	return v1alpha1.ReasonTLSSecretNotYetValid, fmt.Sprintf("%s: the certificate is valid from %s only; check the clocks",
		j.name(), stamp(j.verdict.NotBefore))
}

// chainsToCA holds ca.crt to what observe-sidecar-tls will hold the served chain to, before a pod is deleted for it. It
// comes after the leaf's own validity, which it would otherwise report in other words.
func chainsToCA(j *judgement) (string, string) {
	if len(j.verdict.CAs) == 0 {
		return "", ""
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, ca := range j.verdict.CAs {
		roots.AddCert(ca)
	}
	for _, cert := range j.chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := j.verdict.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: j.now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err == nil {
		return "", ""
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return v1alpha1.ReasonTLSSecretExpired, fmt.Sprintf("%s: a CA certificate that tls.crt chains to is not valid now; renew it",
			j.name())
	}
	return j.malformed("the certificate in tls.crt does not chain to ca.crt; correct ca.crt or leave it out")
}

func rightIssuer(j *judgement) (string, string) {
	if j.want.AnySoundPair || j.want.TLS.IssuerName == "" {
		return "", ""
	}
	mismatch := func(format string, args ...any) (string, string) {
		return v1alpha1.ReasonTLSSecretIssuerMismatch, j.name() + ": " + fmt.Sprintf(format, args...)
	}
	a := j.secret.Annotations
	name, kind, group := a[cmv1.IssuerNameAnnotationKey], a[cmv1.IssuerKindAnnotationKey], a[cmv1.IssuerGroupAnnotationKey]
	if name == "" && kind == "" && group == "" {
		return mismatch("it was not issued by cert-manager for this Certificate, wanted %s; it was probably created by hand: "+
			"delete it or choose another name", j.want.TLS.String())
	}
	ref := cmmeta.IssuerReference{Name: name, Kind: kind, Group: group}
	if got, wanted := issuerString(ref), j.want.TLS.String(); got != wanted {
		return mismatch("it was issued by %s, wanted %s", got, wanted)
	}
	if owner := a[cmv1.CertificateNameKey]; owner != "" && owner != j.want.SecretName {
		return mismatch("it was issued for Certificate %s, wanted Certificate %s; two Certificates must not name one Secret",
			owner, j.want.SecretName)
	}
	return "", ""
}

// issuerString is a reference as SidecarTLSConfig.String gives it, with cert-manager's own defaults filled in. A group
// that is not cert-manager's is part of it, so that it equals none of ours.
func issuerString(ref cmmeta.IssuerReference) string {
	s := cmp.Or(ref.Kind, cmv1.IssuerKind) + "/" + ref.Name
	if group := cmp.Or(ref.Group, issuerGroup); group != issuerGroup {
		s += " of group " + group
	}
	return s
}

func coversNames(j *judgement) (string, string) {
	leaf := j.verdict.Leaf
	var missing []string
	for _, name := range j.want.DNSNames {
		if leaf.VerifyHostname(name) != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return "", ""
	}
	has := "no DNS names"
	if len(leaf.DNSNames) > 0 {
		has = "only " + strings.Join(leaf.DNSNames, ", ")
	}
	return v1alpha1.ReasonTLSSecretSANsMismatch, fmt.Sprintf("%s: the certificate does not cover %s; it has %s",
		j.name(), strings.Join(missing, " and "), has)
}
