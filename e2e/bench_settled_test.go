//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestBenchSettled measures what many nodes cost that are born with TLS and then left alone; only when BENCH_NODES says how many.
// It is made for the sim tier: BENCH_NODES=1000.
func TestBenchSettled(t *testing.T) {
	if os.Getenv("BENCH_NODES") == "" {
		t.Skip("BENCH_NODES is not set")
	}
	s := newS(t, newEnv(t), "bench")
	nodes, report := number(s, "BENCH_NODES", 0), reporter("bench-settled")
	metrics := s.metricsEndpoint()
	op := s.benchOperator(metrics.arguments()...)
	begun := time.Now()
	s.benchNodes(0, nodes, s.chain, withTLS(*byIssuer(issuerA)))
	report("%d nodes born with TLS in %.1fs; driver RSS %d MiB, at most %d MiB", nodes, time.Since(begun).Seconds(), op.rss()>>20, op.peak()>>20)
	metrics.whileSettled(nodes, report)
	report("driver RSS %d MiB", op.rss()>>20)
}

// hostMetrics is where an operator on this machine serves its metrics.
type hostMetrics struct {
	s       *S
	address string
	certDir string
	ca      *authority
	token   string
}

// metricsEndpoint prepares certificate and reader of an operator's metrics.
func (s *S) metricsEndpoint() *hostMetrics {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s, err)
	e := &hostMetrics{s: s, address: l.Addr().String(), certDir: s.TempDir(), ca: s.authority()}
	require.NoError(s, l.Close())
	cert, key := e.ca.pair(time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour), metricsServerName)
	for name, data := range map[string][]byte{corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key} {
		require.NoError(s, os.WriteFile(filepath.Join(e.certDir, name), data, 0o600))
	}
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: s.ns}})
	s.create(&rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns + "-metrics"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	})
	s.bind("reader", s.ns+"-metrics")
	day := int64(24 * 3600)
	token, err := s.kube.CoreV1().ServiceAccounts(s.ns).CreateToken(s.Context(), "reader",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}, metav1.CreateOptions{})
	require.NoError(s, err)
	e.token = token.Status.Token
	return e
}

// servedCheckInterval has every node looked at so often that the rate for all of them is what counts.
const servedCheckInterval = "30s"

func (e *hostMetrics) arguments() []string {
	return []string{"--metrics-bind-address=" + e.address, "--metrics-cert-dir=" + e.certDir,
		"--served-check-interval=" + servedCheckInterval, "--pprof-bind-address=127.0.0.1:16060"}
}

// scrape gets the metrics and says how long that took.
func (e *hostMetrics) scrape() (metrics []byte, took time.Duration) {
	e.s.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(e.ca.cert)
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		RootCAs: roots, ServerName: metricsServerName, MinVersion: tls.VersionTLS12,
	}}}
	req, err := http.NewRequestWithContext(e.s.Context(), http.MethodGet, "https://"+e.address+"/metrics", nil)
	require.NoError(e.s, err)
	req.Header.Set("Authorization", "Bearer "+e.token)
	begun := time.Now()
	resp, err := web.Do(req)
	require.NoError(e.s, err)
	defer func() { require.NoError(e.s, resp.Body.Close()) }()
	metrics, err = io.ReadAll(resp.Body)
	took = time.Since(begun)
	require.NoError(e.s, err)
	require.Equal(e.s, http.StatusOK, resp.StatusCode, "%s", metrics)
	return metrics, took
}

// values are the values of a metric, whatever its labels.
func (e *hostMetrics) values(metrics []byte, name string) (found []float64) {
	e.s.Helper()
	for lines := bufio.NewScanner(bytes.NewReader(metrics)); lines.Scan(); {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if family, _, _ := strings.Cut(series, "{"); ok && family == name {
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(e.s, err)
			found = append(found, v)
		}
	}
	return found
}

// whileSettled measures what many nodes with TLS cost while nothing changes.
func (e *hostMetrics) whileSettled(nodes int, report func(string, ...any)) {
	s := e.s
	const checks, scrapes = "seinode_sidecar_tls_served_checks_total", 9
	metrics, _ := e.scrape()
	for _, name := range []string{secretReady, "seinode_sidecar_tls_served_cert_current"} {
		values := e.values(metrics, name)
		require.Len(s, values, nodes)
		require.NotContains(s, values, 0.0, name)
	}
	offset, begun, before := s.auditSize(), time.Now(), sum(e.values(metrics, checks))
	s.pass(time.Duration(number(s, "BENCH_QUIET", 120)) * time.Second)
	var asked []string
	for _, r := range s.requests(offset, benchUser) {
		if r.resource() != "coordination.k8s.io/leases" && r.Verb != "watch" {
			asked = append(asked, r.Verb+" "+r.RequestURI)
		}
	}
	metrics, _ = e.scrape()
	rate := (sum(e.values(metrics, checks)) - before) / time.Since(begun).Seconds()
	report("operator: %.0f MiB of heap alive after the last collection, %.0f MiB allocated, %.0f MiB from the system",
		sum(e.values(metrics, "go_memstats_next_gc_bytes"))/2/(1<<20), sum(e.values(metrics, "go_memstats_heap_alloc_bytes"))/(1<<20),
		sum(e.values(metrics, "go_memstats_sys_bytes"))/(1<<20))
	var took []time.Duration
	for range scrapes {
		_, t := e.scrape()
		took = append(took, t)
	}
	slices.Sort(took)
	report("%d settled nodes with TLS: %d requests besides watches and the Lease in %.0fs; %.1f served certificates looked at a second "+
		"(interval %s; limit 5); a scrape takes %.1f ms (median of %d; limit 100)", nodes, len(asked), time.Since(begun).Seconds(), rate,
		servedCheckInterval, float64(took[scrapes/2].Microseconds())/1000, scrapes)
	require.Empty(s, asked[:min(len(asked), 20)], "requests besides watches and the Lease, the first of %d", len(asked))
	require.Positive(s, rate)
	require.Less(s, rate, 5.0)
	require.Less(s, took[scrapes/2], 100*time.Millisecond)
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}
