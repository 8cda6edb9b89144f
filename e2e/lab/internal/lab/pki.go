package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// pair is a certificate and its key, PEM.
type pair struct{ cert, key []byte }

// identity is a client: file name, user and groups.
type identity struct {
	file, user string
	groups     []string
}

// identities are those with a certificate of the lab.
// Names are what Kubernetes' own roles expect of its components.
var identities = []identity{
	{"admin", "lab-admin", []string{"system:masters"}},
	{"kube-controller-manager", "system:kube-controller-manager", nil},
	{"kube-scheduler", "system:kube-scheduler", nil},
	{"kube-proxy", "system:kube-proxy", nil},
	{"kubelet", "system:node:" + NodeName, []string{"system:nodes"}},
	{"apiserver-kubelet-client", "system:kube-apiserver", []string{"system:masters"}},
	{"cert-manager", "system:serviceaccount:cert-manager:cert-manager", []string{"system:masters"}},
	{"provisioner", "system:lab:provisioner", []string{"system:masters"}},
	{"labsim", "system:lab:sim", []string{"system:masters"}},
	{clusterDNS, "system:lab:dns", nil},
}

// newKey makes a key, and its PEM.
func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generating a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// sign fills in what all certificates share and signs; a nil parent is a root.
func sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (pair, *x509.Certificate, *ecdsa.PrivateKey, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return pair{}, nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return pair{}, nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return pair{}, nil, nil, fmt.Errorf("signing the certificate of %s: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, nil, nil, fmt.Errorf("reading the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM}, cert, key, nil
}

// newCA makes a certificate authority.
func newCA(name string) (pair, *x509.Certificate, *ecdsa.PrivateKey, error) {
	return sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, nil, nil)
}

// makePKI writes the lab's certificates, keys and kubeconfigs, once.
func (e *Env) makePKI() error {
	if _, err := os.Stat(e.path("pki", "complete")); err == nil {
		return e.addIdentities()
	}
	ca, caCert, caKey, err := newCA("seictl-lab")
	if err != nil {
		return err
	}
	if err := e.writePair("ca", ca); err != nil {
		return err
	}
	serving, _, _, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"},
		DNSNames: []string{
			"localhost", NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local",
		},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(BridgeIP), net.ParseIP(ServiceIP)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, caCert, caKey)
	if err != nil {
		return err
	}
	if err := e.writePair("serving", serving); err != nil {
		return err
	}
	for _, id := range identities {
		if err := e.makeIdentity(id, ca, caCert, caKey); err != nil {
			return err
		}
	}
	tokens, _, _, err := newCA("service account tokens")
	if err != nil {
		return err
	}
	if err := e.writePair("sa", tokens); err != nil {
		return err
	}
	return writeFile(e.path("pki", "complete"), nil, 0o600)
}

// makeIdentity writes a client's certificate, key and kubeconfig.
func (e *Env) makeIdentity(id identity, ca pair, caCert *x509.Certificate, caKey *ecdsa.PrivateKey) error {
	client, _, _, err := sign(&x509.Certificate{
		Subject:  pkix.Name{CommonName: id.user, Organization: id.groups},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, caCert, caKey)
	if err != nil {
		return err
	}
	if err := e.writePair(id.file, client); err != nil {
		return err
	}
	return writeFile(e.credential(id), kubeconfig(e.ports.api, ca, client, id.user), 0o600)
}

// credential is a client's kubeconfig.
func (e *Env) credential(id identity) string {
	if id.file == "admin" {
		return e.Kubeconfig()
	}
	return e.pki(id.file + ".kubeconfig")
}

// addIdentities makes those that a lab lacks which an older build made.
func (e *Env) addIdentities() error {
	for _, id := range identities {
		if _, err := os.Stat(e.credential(id)); err == nil {
			continue
		}
		files, err := tls.LoadX509KeyPair(e.pki("ca.crt"), e.pki("ca.key"))
		if err != nil {
			return fmt.Errorf("reading the lab's CA: %w", err)
		}
		key, ok := files.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			return fmt.Errorf("the lab's CA has a key of type %T", files.PrivateKey)
		}
		ca := pair{cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: files.Leaf.Raw})}
		if err := e.makeIdentity(id, ca, files.Leaf, key); err != nil {
			return err
		}
	}
	return nil
}

// writePair writes a certificate and its key to the lab's PKI directory.
func (e *Env) writePair(name string, p pair) error {
	if err := writeFile(e.path("pki", name+".crt"), p.cert, 0o644); err != nil {
		return err
	}
	return writeFile(e.path("pki", name+".key"), p.key, 0o600)
}

// kubeconfig is self-contained, so that it can be copied about.
func kubeconfig(port int, ca, client pair, user string) []byte {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: https://127.0.0.1:%d
    certificate-authority-data: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: lab
  context: {cluster: lab, user: %q}
current-context: lab
`, port, b64(ca.cert), user, b64(client.cert), b64(client.key), user)
}
