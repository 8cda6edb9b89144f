package node

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// Verification is what `seictl node verify -o json` says of a node. No field is ever left out.
type Verification struct {
	Node preview.Node `json:"node"`
	// Verified says that every check holds.
	Verified bool `json:"verified"`
	// Source of the certificate that was observed serving; empty when TLS is off.
	Source string `json:"source"`
	// Leaf that is served, once it is trusted; else null.
	Leaf *Leaf `json:"leaf"`
	// ServedSHA256 and SecretSHA256 are fingerprints, lower-case hex; empty when unknown. Equal compares them.
	ServedSHA256 string `json:"servedSHA256"`
	SecretSHA256 string `json:"secretSHA256"`
	Equal        bool   `json:"equal"`
	// Checks that were made, in order.
	Checks   []Check  `json:"checks"`
	Warnings []string `json:"warnings"`
}

// Leaf is a certificate.
type Leaf struct {
	Issuer    string    `json:"issuer"`
	DNSNames  []string  `json:"dnsNames"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// Check is one check and how it came out.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func (v *Verification) check(name string, ok bool, format string, args ...any) bool {
	v.Checks = append(v.Checks, Check{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)})
	v.Verified = v.Verified && ok
	return ok
}

// verifier proves what nodes serve.
type verifier struct {
	cluster  *factory.Cluster
	settings settings.Settings
	sidecars *sidecar.Connector
	now      func() time.Time
}

func (v *verifier) verify(ctx context.Context, n *v1alpha1.SeiNode) (Verification, error) {
	out := Verification{
		Node:     preview.Node{Namespace: n.Namespace, Name: n.Name, ChainID: n.Spec.ChainID, Mode: n.Mode()},
		Verified: true, Checks: []Check{}, Warnings: []string{},
	}
	current := n.Status.CurrentSidecarTLS.Config()
	out.Source = current.String()
	switch want := n.SidecarTLS(); {
	case want != nil && !want.Equal(current):
		out.check("spec", false, "the spec asks for TLS from %s and what was observed is %s: see seictl node plan %s -n %s",
			want, plan.TLSText(current), n.Name, n.Namespace)
	case want == nil && current != nil:
		out.Warnings = append(out.Warnings, fmt.Sprintf("the spec asks for TLS %s: see seictl node plan %s -n %s",
			plan.TLSText(want), n.Name, n.Namespace))
	}
	var pod corev1.Pod
	key := client.ObjectKey{Namespace: n.Namespace, Name: resources.PodName(n.Name)}
	switch err := v.cluster.Client.Get(ctx, key, &pod); {
	case apierrors.IsNotFound(err):
		out.check("pod", false, "pod %s does not exist", key)
		return out, nil
	case err != nil:
		return out, v.cluster.Explain(err, "get", "pods", key.Namespace, key.Name)
	}
	target := sidecar.Target{Namespace: pod.Namespace, PodName: pod.Name, PodIP: pod.Status.PodIP}
	if current == nil {
		target.Port = resources.SidecarPortOf(&pod.Spec)
		v.plain(ctx, &out, target)
		return out, nil
	}
	target.Port = resources.PortProxy
	return out, v.secured(ctx, &out, n, target)
}

// plain asks for the health of a sidecar without TLS.
func (v *verifier) plain(ctx context.Context, out *Verification, target sidecar.Target) {
	c := v.sidecars.Open(target)
	defer c.Close()
	code, err := c.Healthz(ctx)
	if err != nil {
		out.check("health", false, "%v", err)
		return
	}
	out.check("health", code == http.StatusOK, "GET /v0/healthz over plain HTTP: %d %s", code, http.StatusText(code))
}

func (v *verifier) secured(ctx context.Context, out *Verification, n *v1alpha1.SeiNode, target sidecar.Target) error {
	verdict, err := v.judge(ctx, n)
	if err != nil {
		return err
	}
	out.SecretSHA256 = verdict.FingerprintSHA256
	out.check("secret", verdict.Ready, "%s", verdict.Message)
	trust := &sidecar.TLSTarget{
		ServerName: certs.RequiredDNSNames(n.Name, n.Namespace, v.settings.ClusterDomain)[0],
		Leaf:       verdict.Leaf, CAs: verdict.CAs,
	}
	if trust.Leaf == nil {
		trust.FingerprintSHA256 = n.Status.CurrentSidecarTLS.FingerprintSHA256
	}
	target.TLS = trust
	leaf, err := v.sidecars.Handshake(ctx, target)
	out.served(leaf, err)
	if out.ServedSHA256 == "" {
		return nil
	}
	if out.SecretSHA256 != "" {
		out.Equal = out.ServedSHA256 == out.SecretSHA256
		detail := "the served certificate is the Secret's"
		if !out.Equal {
			detail = "another certificate is served than the Secret holds: after a renewal it takes up to three minutes"
		}
		out.check("equal", out.Equal, "%s", detail)
	}
	if leaf == nil {
		return nil
	}
	c := v.sidecars.Open(target)
	defer c.Close()
	code, err := c.Status(ctx)
	if err != nil {
		out.check("authenticated", false, "%v", err)
		return nil
	}
	out.check("authenticated", code == http.StatusOK, "GET /v0/status with a token of ServiceAccount %s/%s: %d %s",
		sidecar.TokenNamespace, sidecar.TokenServiceAccount, code, http.StatusText(code))
	return nil
}

// served records the outcome of the handshake.
func (v *Verification) served(leaf *x509.Certificate, err error) {
	var mismatch *sidecar.LeafMismatchError
	var untrusted *sidecar.UntrustedError
	switch {
	case err == nil:
		v.ServedSHA256 = certs.Fingerprint(leaf)
		v.Leaf = &Leaf{Issuer: leaf.Issuer.String(), DNSNames: leaf.DNSNames,
			NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC()}
		v.check("handshake", true, "verified for %s", leaf.DNSNames)
		return
	case errors.As(err, &mismatch):
		v.ServedSHA256 = mismatch.Served
	case errors.As(err, &untrusted):
		v.ServedSHA256 = untrusted.Served
	}
	v.check("handshake", false, "%v", err)
}

// judge reads the Secret of the TLS that runs. A Secret that may not be read is no error: the handshake still can be made.
func (v *verifier) judge(ctx context.Context, n *v1alpha1.SeiNode) (certs.Verdict, error) {
	tls := n.Status.CurrentSidecarTLS.Config()
	params := resources.TLSSecretParamsFor(n, tls, v.settings)
	want := certs.Want{Namespace: n.Namespace, SecretName: params.SecretName, TLS: *tls, DNSNames: params.DNSNames}
	var secret corev1.Secret
	err := v.cluster.Client.Get(ctx, client.ObjectKey{Namespace: n.Namespace, Name: params.SecretName}, &secret)
	switch {
	case err == nil:
		return certs.Judge(&secret, want, v.now()), nil
	case apierrors.IsNotFound(err):
		return certs.Judge(nil, want, v.now()), nil
	case factory.Unreachable(err):
		return certs.Verdict{}, v.cluster.Explain(err, "get", "secrets", n.Namespace, params.SecretName)
	}
	return certs.Unavailable(v.cluster.Explain(err, "get", "secrets", n.Namespace, params.SecretName)), nil
}
