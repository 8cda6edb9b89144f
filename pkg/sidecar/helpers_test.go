package sidecar

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testName = "node-0.sei.svc.cluster.local"

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p pair) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
}

// issue makes a certificate: signed by issuer, or by itself when that is nil.
func issue(t *testing.T, issuer *pair, edit func(*x509.Certificate)) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{testName},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// As cert-manager does for a leaf.
		BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return pair{cert: cert, key: key}
}

func newCA(t *testing.T) *pair {
	t.Helper()
	ca := issue(t, nil, func(c *x509.Certificate) {
		c.IsCA, c.DNSNames, c.ExtKeyUsage = true, nil, nil
		c.KeyUsage = x509.KeyUsageCertSign
		c.Subject.CommonName = "ca of " + c.SerialNumber.String()
	})
	return &ca
}

// loopback dials 127.0.0.1 for any pod and counts.
type loopback struct {
	mu    sync.Mutex
	dials int
}

func (d *loopback) DialPod(ctx context.Context, ns, pod, _ string, port int32) (net.Conn, error) {
	d.mu.Lock()
	d.dials++
	d.mu.Unlock()
	return DirectDialer().DialPod(ctx, ns, pod, "127.0.0.1", port)
}

func (d *loopback) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dials
}

// peer is a sidecar that remembers what it was asked.
type peer struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func (p *peer) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.requests = append(p.requests, r)
		p.bodies = append(p.bodies, string(body))
		p.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

// serve starts a server: TLS with the given leaf, plain HTTP without.
func serve(t *testing.T, leaf *pair, handler http.Handler) (*peer, Target) {
	t.Helper()
	p := &peer{}
	server := httptest.NewUnstartedServer(p.record(handler))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if leaf != nil {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{leaf.tls()}}
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	target := targetOf(t, server.Listener.Addr())
	if leaf != nil {
		target.TLS = &TLSTarget{ServerName: testName}
	}
	return p, target
}

func targetOf(t *testing.T, addr net.Addr) Target {
	t.Helper()
	_, port, err := net.SplitHostPort(addr.String())
	require.NoError(t, err)
	n, err := strconv.ParseInt(port, 10, 32)
	require.NoError(t, err)
	return Target{Namespace: "sei", PodName: "node-0", PodIP: "127.0.0.1", Port: int32(n)}
}

// listen starts a raw TCP peer.
func listen(t *testing.T, handle func(net.Conn)) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns sync.WaitGroup
	t.Cleanup(func() { l.Close(); conns.Wait() })
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { defer conn.Close(); handle(conn) })
		}
	})
	return targetOf(t, l.Addr())
}

// closedPort is a port that nobody listens on.
func closedPort(t *testing.T) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return targetOf(t, l.Addr())
}

// fixedToken is a TokenSource that counts.
type fixedToken struct {
	mu          sync.Mutex
	asked       int
	invalidated int
	err         error
}

const testToken = "s3cret-token"

func (f *fixedToken) Token(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return testToken, f.err
}

func (f *fixedToken) Invalidate() { f.invalidated++ }

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func isA[E error](err error, target *E) bool { return errors.As(err, target) }

func writePEM(t *testing.T, cert *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}
