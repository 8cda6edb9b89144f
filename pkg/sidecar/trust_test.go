package sidecar

import (
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/pkg/certs"
)

// world is the certificates that the trust tests choose from.
type world struct {
	ca, otherCA                                            *pair
	leaf, sibling, foreign, selfSigned, expired, wrongName pair
}

func newWorld(t *testing.T) world {
	w := world{ca: newCA(t), otherCA: newCA(t)}
	w.leaf = issue(t, w.ca, nil)
	w.sibling = issue(t, w.ca, nil)
	w.foreign = issue(t, w.otherCA, nil)
	w.selfSigned = issue(t, nil, nil)
	w.expired = issue(t, w.ca, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	w.wrongName = issue(t, w.ca, func(c *x509.Certificate) { c.DNSNames = []string{"other.sei.svc.cluster.local"} })
	return w
}

// outcome of a handshake or call.
type outcome string

const (
	trusted   outcome = "trusted"
	mismatch  outcome = "mismatch"
	untrusted outcome = "untrusted"
)

func outcomeOf(t *testing.T, err error) outcome {
	t.Helper()
	var other *LeafMismatchError
	var bad *UntrustedError
	if err == nil {
		return trusted
	}
	if require.Error(t, err); isA(err, &other) {
		require.Len(t, other.Served, 64)
		require.Len(t, other.Wanted, 64)
		require.False(t, other.ServedNotAfter.IsZero())
		return mismatch
	}
	if isA(err, &bad) {
		require.Len(t, bad.Served, 64)
		return untrusted
	}
	require.NoError(t, err, "neither mismatch nor untrusted")
	return ""
}

func TestTrust(t *testing.T) {
	w := newWorld(t)
	leafOnly := func(p pair) TLSTarget { return TLSTarget{Leaf: p.cert} }
	caOnly := func(p *pair) TLSTarget { return TLSTarget{CAs: []*x509.Certificate{p.cert}} }
	stamp := func(p pair) TLSTarget { return TLSTarget{FingerprintSHA256: certs.Fingerprint(p.cert)} }
	both := func(p pair, ca *pair) TLSTarget {
		return TLSTarget{Leaf: p.cert, CAs: []*x509.Certificate{ca.cert}}
	}
	cases := map[string]struct {
		serves    pair
		trust     TLSTarget
		handshake outcome
		client    outcome
	}{
		"leaf alone":                          {w.leaf, leafOnly(w.leaf), trusted, trusted},
		"leaf alone, self-signed":             {w.selfSigned, leafOnly(w.selfSigned), trusted, trusted},
		"CA alone":                            {w.leaf, caOnly(w.ca), trusted, trusted},
		"fingerprint alone":                   {w.leaf, stamp(w.leaf), trusted, trusted},
		"fingerprint alone, upper case":       {w.leaf, TLSTarget{FingerprintSHA256: strings.ToUpper(certs.Fingerprint(w.leaf.cert))}, trusted, trusted},
		"leaf and its CA":                     {w.leaf, both(w.leaf, w.ca), trusted, trusted},
		"nothing to trust":                    {w.leaf, TLSTarget{}, untrusted, untrusted},
		"other leaf of the same CA":           {w.sibling, both(w.leaf, w.ca), mismatch, trusted},
		"other leaf, leaf alone":              {w.sibling, leafOnly(w.leaf), mismatch, mismatch},
		"other leaf, fingerprint alone":       {w.sibling, stamp(w.leaf), mismatch, mismatch},
		"leaf of another CA":                  {w.foreign, both(w.leaf, w.ca), mismatch, mismatch},
		"leaf of another CA, CA alone":        {w.foreign, caOnly(w.ca), untrusted, untrusted},
		"right leaf, ca.crt of somebody else": {w.leaf, both(w.leaf, w.otherCA), untrusted, trusted},
		"proxy's own self-signed":             {w.selfSigned, both(w.leaf, w.ca), mismatch, mismatch},
		"expired, leaf":                       {w.expired, leafOnly(w.expired), untrusted, untrusted},
		"expired, CA":                         {w.expired, caOnly(w.ca), untrusted, untrusted},
		"expired, fingerprint":                {w.expired, stamp(w.expired), untrusted, untrusted},
		"wrong name, leaf":                    {w.wrongName, leafOnly(w.wrongName), untrusted, untrusted},
		"wrong name, CA":                      {w.wrongName, caOnly(w.ca), untrusted, untrusted},
		"wrong name, fingerprint":             {w.wrongName, stamp(w.wrongName), untrusted, untrusted},
		"fingerprint rescues a renewed Secret": {w.leaf,
			TLSTarget{Leaf: w.foreign.cert, CAs: []*x509.Certificate{w.otherCA.cert}, FingerprintSHA256: certs.Fingerprint(w.leaf.cert)},
			mismatch, trusted},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p, target := serve(t, &tc.serves, http.HandlerFunc(ok))
			tc.trust.ServerName = testName
			target.TLS = &tc.trust
			tokens := &fixedToken{}
			c := &Connector{Dialer: DirectDialer(), Tokens: tokens}

			served, err := c.Handshake(t.Context(), target)
			require.Equal(t, tc.handshake, outcomeOf(t, err), "%v", err)
			if err == nil {
				require.True(t, served.Equal(tc.serves.cert))
			}

			client := c.Open(target)
			defer client.Close()
			_, err = client.Status(t.Context())
			require.Equal(t, tc.client, outcomeOf(t, err), "%v", err)
			if tc.client == trusted {
				require.Equal(t, "Bearer "+testToken, p.requests[0].Header.Get("Authorization"))
			} else {
				require.Zero(t, p.count(), "nothing is sent, least of all the token, before the certificate verified")
				require.NotContains(t, err.Error(), testToken)
			}
		})
	}
}

func TestLeafMismatchNamesBoth(t *testing.T) {
	w := newWorld(t)
	_, target := serve(t, &w.sibling, http.HandlerFunc(ok))
	target.TLS.Leaf, target.TLS.CAs = w.leaf.cert, []*x509.Certificate{w.ca.cert}
	_, err := (&Connector{Dialer: DirectDialer()}).Handshake(t.Context(), target)
	var other *LeafMismatchError
	require.ErrorAs(t, err, &other)
	require.Equal(t, certs.Fingerprint(w.sibling.cert), other.Served)
	wanted := certs.Fingerprint(w.leaf.cert)
	require.Equal(t, wanted, other.Wanted)
	require.True(t, w.sibling.cert.NotAfter.Equal(other.ServedNotAfter))
}

// A leaf in the root pool must not become a CA.
func TestLeafAsRootSignsNothing(t *testing.T) {
	w := newWorld(t)
	child := issue(t, &w.leaf, nil)
	_, target := serve(t, &child, http.HandlerFunc(ok))
	target.TLS.Leaf = w.leaf.cert
	client := (&Connector{Dialer: DirectDialer()}).Open(target)
	_, err := client.Livez(t.Context())
	require.Equal(t, mismatch, outcomeOf(t, err))
}

func TestSystemRootsAreNotConsulted(t *testing.T) {
	w := newWorld(t)
	t.Setenv("SSL_CERT_FILE", writePEM(t, w.ca.cert))
	_, target := serve(t, &w.leaf, http.HandlerFunc(ok))
	_, err := (&Connector{Dialer: DirectDialer()}).Handshake(t.Context(), target)
	require.Equal(t, untrusted, outcomeOf(t, err))
}

func TestFingerprintTrustTakesTwoHandshakes(t *testing.T) {
	w := newWorld(t)
	_, target := serve(t, &w.leaf, http.HandlerFunc(ok))
	target.TLS.FingerprintSHA256 = certs.Fingerprint(w.leaf.cert)
	dialer := &loopback{}
	_, err := (&Connector{Dialer: dialer}).Handshake(t.Context(), target)
	require.NoError(t, err)
	require.Equal(t, 2, dialer.count())
}

func TestNotTLS(t *testing.T) {
	w := newWorld(t)
	plain, target := serve(t, nil, http.HandlerFunc(ok))
	hangUp := listen(t, func(net.Conn) {})
	garbage := listen(t, func(c net.Conn) { io.WriteString(c, "220 mail.example ESMTP\r\n") })
	for name, target := range map[string]Target{"plain HTTP": target, "hangs up": hangUp, "garbage": garbage} {
		t.Run(name, func(t *testing.T) {
			target.TLS = &TLSTarget{ServerName: testName, Leaf: w.leaf.cert}
			c := &Connector{Dialer: DirectDialer(), Tokens: &fixedToken{}}
			_, err := c.Handshake(t.Context(), target)
			require.ErrorIs(t, err, ErrNotTLS)
			client := c.Open(target)
			require.ErrorIs(t, client.PostTask(t.Context(), "id", "mark-ready", nil), ErrNotTLS)
			require.Zero(t, plain.count())
		})
	}
}

func TestHandshakeOfPlainTargetIsRefused(t *testing.T) {
	_, err := (&Connector{Dialer: DirectDialer()}).Handshake(t.Context(), Target{PodName: "x"})
	require.ErrorContains(t, err, "plain HTTP")
}

func TestHangingHandshakeEnds(t *testing.T) {
	w := newWorld(t)
	target := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	target.TLS = &TLSTarget{ServerName: testName, Leaf: w.leaf.cert}
	c := &Connector{Dialer: DirectDialer(), Tokens: &fixedToken{}, DialTimeout: 50 * time.Millisecond}
	_, err := c.Handshake(t.Context(), target)
	require.ErrorContains(t, err, "deadline exceeded")
	require.NotErrorIs(t, err, ErrNotTLS)
	err = c.Open(target).PostTask(t.Context(), "id", "mark-ready", nil)
	require.ErrorContains(t, err, "deadline exceeded")
	require.False(t, DeliveryUnknown(err))
}
