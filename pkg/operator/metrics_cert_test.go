package operator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	certutil "k8s.io/client-go/util/cert"
)

// writePair writes a certificate for a name and returns it.
func writePair(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	cert, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.crt"), cert, 0o600))
	block, _ := pem.Decode(cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return leaf
}

// servedBy is the leaf of a handshake.
func servedBy(t *testing.T, m *metricsCert) *x509.Certificate {
	t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	m.configure(c)
	cert, err := c.GetCertificate(&tls.ClientHelloInfo{Conn: &net.TCPConn{}})
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	return leaf
}

// The Secret of the certificate may come after the operator, and is renewed under it.
func TestMetricsCertificateComesLaterAndIsRenewed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, err := newMetricsCert(dir, logr.Discard())
	require.NoError(t, err)
	require.Contains(t, servedBy(t, m).DNSNames, "localhost", "self-signed until there is one")
	require.False(t, m.NeedLeaderElection())

	m.poll = 10 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	for _, name := range []string{"first", "renewed"} {
		leaf := writePair(t, dir, name)
		require.Eventually(t, func() bool { return servedBy(t, m).Equal(leaf) }, 10*time.Second, 10*time.Millisecond, name)
	}
	stop()
	require.NoError(t, <-ended)
}

func TestMetricsCertificateOfItsOwn(t *testing.T) {
	t.Parallel()
	m, err := newMetricsCert("", logr.Discard())
	require.NoError(t, err)
	require.NoError(t, m.Start(t.Context()), "nothing to follow")
	require.Contains(t, servedBy(t, m).DNSNames, "localhost")

	m, err = newMetricsCert(t.TempDir(), logr.Discard())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, m.Start(ctx), "the process ends before there is a certificate")
}
