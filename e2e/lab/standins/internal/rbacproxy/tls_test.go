package rbacproxy

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// pair is a certificate and key on disk.
type pair struct{ cert, key string }

func newPair(t *testing.T) pair {
	t.Helper()
	p := pair{filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")}
	p.renew(t)
	return p
}

// renew replaces both files and returns the new leaf.
func (p pair) renew(t *testing.T) *x509.Certificate {
	t.Helper()
	made, err := selfSigned([]string{"node.ns.svc.cluster.local"})
	require.NoError(t, err)
	key, err := x509.MarshalECPrivateKey(made.PrivateKey.(*ecdsa.PrivateKey))
	require.NoError(t, err)
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	write(p.cert, "CERTIFICATE", made.Certificate[0])
	write(p.key, "EC PRIVATE KEY", key)
	return made.Leaf
}

func presented(t *testing.T, s *leafSource) *x509.Certificate {
	t.Helper()
	c, err := s.certificate(nil)
	require.NoError(t, err)
	return c.Leaf
}

// tick lets a watcher reload once; the second tick is taken only when the first reload is over.
func tick(ticks chan<- time.Time) {
	ticks <- time.Time{}
	ticks <- time.Time{}
}

func TestRenewedPairIsServed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	source := &faults.Source{}
	leaf, err := newLeafSource(p.cert, p.key, os.ReadFile, source)
	require.NoError(t, err)
	ticks := make(chan time.Time)
	go func() { _ = leaf.watch(t.Context(), ticks) }()

	first := presented(t, leaf)
	renewed := p.renew(t)
	require.True(t, first.Equal(presented(t, leaf)), "not before it is read")
	tick(ticks)
	require.True(t, renewed.Equal(presented(t, leaf)))

	source.Store(faults.NewSource(kinds.StaleLeaf).Current())
	p.renew(t)
	tick(ticks)
	require.True(t, renewed.Equal(presented(t, leaf)), "stale-leaf")

	source.Store(faults.NewSource(kinds.WrongLeaf).Current())
	wrong := presented(t, leaf)
	require.False(t, renewed.Equal(wrong), "wrong-leaf")
	require.Equal(t, renewed.DNSNames, wrong.DNSNames)
}

func TestReloadErrorEndsTheProcess(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*testing.T, pair){
		"malformed":      func(t *testing.T, p pair) { require.NoError(t, os.WriteFile(p.cert, []byte("x"), 0o600)) },
		"gone":           func(t *testing.T, p pair) { require.NoError(t, os.Remove(p.key)) },
		"mismatched key": func(t *testing.T, p pair) { pair{p.cert, newPair(t).key}.renew(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			leaf, err := newLeafSource(p.cert, p.key, os.ReadFile, &faults.Source{})
			require.NoError(t, err)
			spoil(t, p)
			ticks := make(chan time.Time, 1)
			ticks <- time.Time{}
			require.ErrorContains(t, leaf.watch(t.Context(), ticks), "reloading TLS")
		})
	}
}

func TestStartWithAndWithoutFiles(t *testing.T) {
	t.Parallel()
	_, err := newLeafSource(filepath.Join(t.TempDir(), "tls.crt"), "tls.key", os.ReadFile, &faults.Source{})
	require.ErrorIs(t, err, os.ErrNotExist, "named files must be there")
	leaf, err := newLeafSource("", "", os.ReadFile, &faults.Source{})
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, []string{host}, presented(t, leaf).DNSNames, "self-signed, in silence")
}

// securePort serves 200s with the given faults and returns its listener, its faults and how a client trusts it.
func securePort(t *testing.T, inForce ...string) (*faultyListener, *faults.Source, *tls.Config) {
	t.Helper()
	source := faults.NewSource(inForce...)
	leaf, err := newLeafSource("", "", os.ReadFile, source)
	require.NoError(t, err)
	l, err := ownContainer(&options{}).listen("127.0.0.1:0", leaf, source)
	require.NoError(t, err)
	server := &http.Server{Handler: healthz()}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(l) }()
	roots := x509.NewCertPool()
	roots.AddCert(leaf.leaf.Leaf)
	return l, source, &tls.Config{RootCAs: roots, ServerName: leaf.leaf.Leaf.DNSNames[0], MinVersion: tls.VersionTLS12}
}

func TestSecurePort(t *testing.T) {
	t.Parallel()
	l, _, trust := securePort(t)
	conn, err := tls.Dial("tcp", l.Addr().String(), trust)
	require.NoError(t, err)
	defer conn.Close()
	l.dropConnections()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "a change of faults ends open connections")
}

func TestNoTLS(t *testing.T) {
	t.Parallel()
	l, _, _ := securePort(t, kinds.NoTLS)
	resp, err := http.Get("http://" + l.Addr().String() + "/healthz")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestHangingHandshakeEndsWithTheFault(t *testing.T) {
	t.Parallel()
	l, source, trust := securePort(t, kinds.HangHandshake)
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	ended := make(chan error)
	go func() { ended <- tls.Client(conn, trust).Handshake() }()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.open) == 1
	}, 5*time.Second, time.Millisecond, "accepted")
	require.Empty(t, ended)
	source.Store(faults.NewSource().Current())
	l.dropConnections()
	require.Error(t, <-ended)
}
