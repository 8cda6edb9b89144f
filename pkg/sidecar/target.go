package sidecar

import (
	"context"
	"crypto/x509"
	"net"
	"strconv"
	"time"
)

// Limits of one call. They bound a peer that accepts and then says nothing, which kube-rbac-proxy is known to do.
const (
	// DefaultDialTimeout bounds one connection attempt: dial and TLS handshake together.
	DefaultDialTimeout = 5 * time.Second
	// DefaultRequestTimeout bounds one request, with its connection attempt and the body of its response.
	DefaultRequestTimeout = 10 * time.Second
	// maxBody is what is read of a response, in bytes.
	maxBody = 64 << 10
)

// Target is one sidecar: a port of one pod, and how to trust who answers there.
type Target struct {
	// Namespace, PodName and PodIP of the pod. PodIP may be empty for a dialer that needs none.
	Namespace, PodName, PodIP string
	// Port of the container: the sidecar's own for plain HTTP, the proxy's for TLS.
	Port int32
	// TLS says what to trust; nil means plain HTTP.
	TLS *TLSTarget
}

// String names the target in errors: namespace/pod:port.
func (t Target) String() string {
	return t.Namespace + "/" + t.PodName + ":" + strconv.Itoa(int(t.Port))
}

// TLSTarget is what makes a served certificate trusted. Any one of Leaf, CAs and FingerprintSHA256 suffices for a Client;
// with none of them nothing is trusted.
type TLSTarget struct {
	// ServerName is the DNS name that the certificate must be valid for.
	ServerName string
	// Leaf is the certificate of the node's Secret.
	Leaf *x509.Certificate
	// CAs are the certificates of the Secret's ca.crt.
	CAs []*x509.Certificate
	// FingerprintSHA256 is the lower-case hex SHA-256 of the served leaf, as status.currentSidecarTLS stamps it.
	FingerprintSHA256 string
}

// Dialer opens a TCP-like connection to a port of a pod.
type Dialer interface {
	// DialPod connects. A connection that a peer is known to have refused is ErrPortClosed; every other error leaves open
	// whether something listens.
	DialPod(ctx context.Context, namespace, pod, podIP string, port int32) (net.Conn, error)
}

// TokenSource yields bearer tokens for the sidecar.
type TokenSource interface {
	// Token returns a token that is valid for some time yet.
	Token(ctx context.Context) (string, error)
}

// Connector opens connections to sidecars. The zero timeouts mean the defaults.
type Connector struct {
	Dialer
	// Tokens authenticates calls over TLS. It is never asked for a plain HTTP target.
	Tokens TokenSource
	// DialTimeout bounds one connection attempt, RequestTimeout one request.
	DialTimeout, RequestTimeout time.Duration
}

func (c *Connector) dialTimeout() time.Duration {
	if c.DialTimeout > 0 {
		return c.DialTimeout
	}
	return DefaultDialTimeout
}

func (c *Connector) requestTimeout() time.Duration {
	if c.RequestTimeout > 0 {
		return c.RequestTimeout
	}
	return DefaultRequestTimeout
}

func (c *Connector) dial(ctx context.Context, t Target) (net.Conn, error) {
	return c.DialPod(ctx, t.Namespace, t.PodName, t.PodIP, t.Port)
}
