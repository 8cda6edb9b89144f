package operator

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// certPoll is how often a certificate that is not there yet is looked for; certwatcher polls as often.
const certPoll = 10 * time.Second

// metricsCert is the certificate of /metrics: the one in a directory, read again when it changes. Until there is one, because
// cert-manager comes later or never, it is self-signed: who verifies refuses it, and the operator does its work all the same.
type metricsCert struct {
	dir string
	log logr.Logger
	// poll is how often the directory is looked at.
	poll time.Duration

	own     tls.Certificate
	watcher atomic.Pointer[certwatcher.CertWatcher]
}

func newMetricsCert(dir string, log logr.Logger) (*metricsCert, error) {
	cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for /metrics: %w", err)
	}
	m := &metricsCert{dir: dir, log: log, poll: certPoll}
	if m.own, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("making a certificate for /metrics: %w", err)
	}
	return m, nil
}

// configure makes a server serve the certificate.
func (m *metricsCert) configure(c *tls.Config) {
	c.MinVersion = tls.VersionTLS12
	c.GetCertificate = m.get
}

func (m *metricsCert) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if w := m.watcher.Load(); w != nil {
		return w.GetCertificate(hello)
	}
	return &m.own, nil
}

// Start waits for the certificate and follows it until ctx ends. Nothing about it is a reason for the operator to end.
func (m *metricsCert) Start(ctx context.Context) error {
	for m.dir != "" && ctx.Err() == nil {
		w := m.await(ctx)
		if w == nil {
			break
		}
		m.watcher.Store(w)
		m.log.Info("serving /metrics with the certificate given", "directory", m.dir)
		if err := w.WithWatchInterval(m.poll).Start(ctx); err != nil {
			m.log.Error(err, "watching the certificate of /metrics")
		}
	}
	return nil
}

// await waits until there is a certificate; nil when ctx ends before.
func (m *metricsCert) await(ctx context.Context) (w *certwatcher.CertWatcher) {
	said := false
	_ = wait.PollUntilContextCancel(ctx, m.poll, true, func(context.Context) (bool, error) {
		var err error
		w, err = certwatcher.New(filepath.Join(m.dir, "tls.crt"), filepath.Join(m.dir, "tls.key"))
		if err != nil && !said {
			said = true
			m.log.Info("no certificate for /metrics yet: a self-signed one is served", "reason", err.Error())
		}
		return err == nil, nil
	})
	return w
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a replica that waits is scraped as well.
func (*metricsCert) NeedLeaderElection() bool { return false }
