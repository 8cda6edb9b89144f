package rbacproxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// leafSource holds the certificate that is served.
type leafSource struct {
	certFile, keyFile string
	readFile          func(string) ([]byte, error)
	faults            *faults.Source

	mu sync.Mutex
	// certPEM and keyPEM are what the files said last.
	certPEM, keyPEM []byte
	leaf            *tls.Certificate
	// forged is the answer of the wrong-leaf fault for leaf, made when it is first asked for.
	forged, forgedFor *tls.Certificate
}

// newLeafSource reads the pair, or makes a self-signed one when there are no files to read: an answering port proves
// nothing about the certificate behind it.
func newLeafSource(
	certFile, keyFile string, readFile func(string) ([]byte, error), source *faults.Source,
) (*leafSource, error) {
	s := &leafSource{certFile: certFile, keyFile: keyFile, readFile: readFile, faults: source}
	if certFile != "" {
		return s, s.reload()
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("naming the self-signed certificate: %w", err)
	}
	klog.InfoS("Generating self signed cert as no cert is provided", "host", host)
	s.leaf, err = selfSigned([]string{host})
	return s, err
}

// reload reads both files, one after the other, and takes them over when they changed and fit together.
func (s *leafSource) reload() error {
	certPEM, err := s.readFile(s.certFile)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	keyPEM, err := s.readFile(s.keyFile)
	if err != nil {
		return fmt.Errorf("reading the private key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaf != nil && bytes.Equal(certPEM, s.certPEM) && bytes.Equal(keyPEM, s.keyPEM) {
		return nil
	}
	leaf, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("loading the certificate: %w", err)
	}
	s.certPEM, s.keyPEM, s.leaf = certPEM, keyPEM, &leaf
	klog.InfoS("Serving certificate", "serial", fmt.Sprintf("%x", leaf.Leaf.SerialNumber), "notAfter", leaf.Leaf.NotAfter)
	return nil
}

// watch reloads at every tick until ctx ends. The first error ends it, and with it the process: that is how the real
// proxy turns a malformed update into a crash loop.
func (s *leafSource) watch(ctx context.Context, ticks <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
		if s.certFile == "" || s.faults.Has(kinds.StaleLeaf) {
			continue
		}
		if err := s.reload(); err != nil {
			return fmt.Errorf("reloading TLS: %w", err)
		}
	}
}

// certificate is what a handshake presents.
func (s *leafSource) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.faults.Has(kinds.WrongLeaf) {
		return s.leaf, nil
	}
	if s.forgedFor != s.leaf {
		forged, err := selfSigned(s.leaf.Leaf.DNSNames)
		if err != nil {
			return nil, err
		}
		s.forged, s.forgedFor = forged, s.leaf
	}
	return s.forged, nil
}

// selfSigned makes a pair for the names that nobody vouches for.
func selfSigned(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"self-signed"}},
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate back: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
