package sidecar

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"sei.io/seictl/pkg/certs"
)

// Handshake connects, verifies and returns the served leaf. Where the target names a Leaf, the peer must serve exactly
// that one (else *LeafMismatchError), and where it names CAs besides, the leaf must chain to them: a peer that serves the
// right leaf from a Secret with somebody else's ca.crt is not what its clients will trust. Without a Leaf the rules of a
// Client hold. ErrNotTLS says that no TLS is spoken there.
func (c *Connector) Handshake(ctx context.Context, t Target) (*x509.Certificate, error) {
	if t.TLS == nil {
		return nil, fmt.Errorf("handshake with %s: the target is plain HTTP", t)
	}
	wanted := *t.TLS
	if wanted.Leaf != nil {
		wanted.FingerprintSHA256 = ""
	}
	vouching := wanted
	if wanted.Leaf != nil && len(wanted.CAs) > 0 {
		vouching.Leaf = nil // the CAs alone must vouch; which leaf it is, is compared below
	}
	conn, err := c.verified(ctx, t, vouching)
	if err != nil {
		return nil, fmt.Errorf("handshake with %s: %w", t, wanted.explain(err))
	}
	defer conn.Close() //nolint:errcheck // nothing was sent on it
	served := conn.ConnectionState().PeerCertificates[0]
	if want := t.TLS.Leaf; want != nil && !want.Equal(served) {
		return nil, fmt.Errorf("handshake with %s: %w", t, &LeafMismatchError{
			Served: certs.Fingerprint(served), Wanted: certs.Fingerprint(want), ServedNotAfter: served.NotAfter})
	}
	return served, nil
}

// dialVerified is Handshake for a Client: any one of leaf, CAs and fingerprint suffices.
func (c *Connector) dialVerified(ctx context.Context, t Target) (net.Conn, error) {
	conn, err := c.verified(ctx, t, *t.TLS)
	if err != nil {
		return nil, t.TLS.explain(err)
	}
	return conn, nil
}

// verified does the handshake with the leaf and the CAs as the only roots. A certificate that they do not vouch for, but
// that has the stamped fingerprint, becomes the only root of a second handshake, which so checks name and validity, and
// that the peer holds the key of that very certificate.
func (c *Connector) verified(ctx context.Context, t Target, trust TLSTarget) (*tls.Conn, error) {
	roots := x509.NewCertPool() // never nil: nil would mean the system's roots
	if trust.Leaf != nil {
		roots.AddCert(trust.Leaf)
	}
	for _, ca := range trust.CAs {
		roots.AddCert(ca)
	}
	conn, err := c.handshake(ctx, t, roots)
	if err == nil || trust.FingerprintSHA256 == "" {
		return conn, err
	}
	refused, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(refused.UnverifiedCertificates) == 0 {
		return nil, err
	}
	leaf := refused.UnverifiedCertificates[0]
	if !strings.EqualFold(certs.Fingerprint(leaf), trust.FingerprintSHA256) {
		return nil, err
	}
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return c.handshake(ctx, t, roots)
}

// handshake is one connection attempt.
func (c *Connector) handshake(ctx context.Context, t Target, roots *x509.CertPool) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.dialTimeout())
	defer cancel()
	raw, err := c.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{
		RootCAs:    roots,
		ServerName: t.TLS.ServerName,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close() //nolint:errcheck // the handshake's error is the one to tell
		return nil, notTLS(err)
	}
	return conn, nil
}

// notTLS recognises a peer that speaks something else, or hangs up.
func notTLS(err error) error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%w: %w", ErrNotTLS, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: it hung up on the handshake: %w", ErrNotTLS, err)
	}
	return fmt.Errorf("TLS: %w", err)
}

// explain says of a refused certificate whether it is another one than wanted, or the wanted one in a bad state.
func (t *TLSTarget) explain(err error) error {
	refused, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(refused.UnverifiedCertificates) == 0 {
		return err
	}
	leaf := refused.UnverifiedCertificates[0]
	served, wanted := certs.Fingerprint(leaf), strings.ToLower(t.FingerprintSHA256)
	if t.Leaf != nil {
		wanted = certs.Fingerprint(t.Leaf)
	}
	if wanted != "" && served != wanted && served != strings.ToLower(t.FingerprintSHA256) {
		return &LeafMismatchError{Served: served, Wanted: wanted, ServedNotAfter: leaf.NotAfter, Err: refused.Err}
	}
	return &UntrustedError{Served: served, ServedNotAfter: leaf.NotAfter, ServerName: t.ServerName, Err: refused.Err}
}
