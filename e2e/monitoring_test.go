//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// soon is how long after a Secret changed the condition may say so.
const soon = 2 * time.Second

// monitored is what the steps of TestMonitoring share: nodes with TLS, and a Prometheus that looks at them.
type monitored struct {
	*S
	prometheus *prometheus
	ca         *authority
	// own has the Secret "own" that somebody provisions, issued an Issuer of the namespace, shared a ClusterIssuer.
	own, issued, shared *Node
}

// TestMonitoring has a real Prometheus look at the operator while Secrets of running nodes become unsound, one way after the
// other. No pod is ever cycled for it.
func TestMonitoring(t *testing.T) {
	needsKubelet(t, "Prometheus scrapes the pod of the operator")
	s := newS(t, newEnv(t), "monitoring")
	s.deleteLease()
	s.installOperator()
	s.operatorArgument("--served-check-interval=5s")
	m := &monitored{S: s, prometheus: s.startPrometheus(), ca: s.authority()}
	m.bear()
	for _, step := range []struct {
		name string
		run  func(*monitored)
	}{
		{"sound", (*monitored).sound},
		{"served-certificate", (*monitored).served},
		{"secret-deleted", (*monitored).secretDeleted},
		{"healed-by-cert-manager", (*monitored).healed},
		{"issuer-gone", (*monitored).issuerGone},
		{"secret-unsound", (*monitored).unsound},
		{"secret-expires", (*monitored).expires},
		{"rights-taken-away", (*monitored).denied},
		{"operator-gone", (*monitored).operatorGone},
		{"TLS-off", (*monitored).tlsOff},
		{"node-deleted", (*monitored).nodeDeleted},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(m.in(t)) }) {
			break // what follows would fail for the same reason
		}
	}
}

// in is m in a subtest.
func (m *monitored) in(t *testing.T) *monitored {
	t.Helper()
	sub := *m.S
	sub.T = t
	c := *m
	c.S, c.prometheus = &sub, m.prometheus.in(&sub)
	ca := *m.ca
	ca.s = &sub
	c.ca = &ca
	for _, n := range []**Node{&c.own, &c.issued, &c.shared} {
		*n = &Node{s: &sub, name: (*n).name}
	}
	return &c
}

// bear brings up the nodes, each of a chain of its own, and waits until all is well.
func (m *monitored) bear() {
	m.Helper()
	m.ca.issuer("own-ca", true)
	m.own, m.issued, m.shared = &Node{s: m.S, name: "ax-own"}, &Node{s: m.S, name: "ax-issued"}, &Node{s: m.S, name: "ax-shared"}
	m.create(m.sound90())
	for n, tls := range map[*Node]*v1alpha1.SidecarTLSConfig{
		m.own: bySecret("own"), m.issued: {IssuerName: "own-ca", IssuerKind: "Issuer"}, m.shared: byIssuer(issuerA),
	} {
		m.create(m.manifest(n.name, withTLS(*tls), func(o *v1alpha1.SeiNode) { o.Spec.ChainID = m.chain + "-" + n.name }))
	}
	for _, n := range []*Node{m.own, m.issued, m.shared} {
		n.eventually("Ready", isReady)
	}
}

// of is a metric of a node.
func (m *monitored) of(metric string, n *Node) string {
	return fmt.Sprintf("%s{namespace=%q,name=%q}", metric, m.ns, n.name)
}

const secretReady = "seinode_sidecar_tls_secret_ready"

// alert is whether an alert of a node is in a state.
func (m *monitored) alert(name, state string, n *Node) string {
	return fmt.Sprintf("ALERTS{alertname=%q,alertstate=%q,namespace=%q,name=%q}", name, state, m.ns, n.name)
}

const notReady = "SeiNodeSidecarTLSSecretNotReady"

// says waits for the verdict on a node's Secret, requires that it came soon, and returns when it was seen.
func (m *monitored) says(n *Node, since time.Time, status metav1.ConditionStatus, reason string, texts ...string) time.Time {
	m.Helper()
	var seen time.Time
	var last *metav1.Condition
	err := wait.PollUntilContextTimeout(m.Context(), 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var node v1alpha1.SeiNode
		if err := m.client.Get(ctx, client.ObjectKey{Namespace: m.ns, Name: n.name}, &node); err != nil {
			return false, err
		}
		last = meta.FindStatusCondition(node.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
		seen = time.Now()
		return last != nil && last.Status == status && last.Reason == reason && holdsAll(last.Message, texts), nil
	})
	require.NoError(m, err, "wanted %s %s %q, found %+v", status, reason, texts, last)
	m.Logf("%s: %s %s after %s: %s", n.name, status, reason, seen.Sub(since).Round(time.Millisecond), last.Message)
	require.Less(m, seen.Sub(since), soon, "from the change to the condition")
	return seen
}

// isSound waits until a Secret that was repaired is found sound.
func (m *monitored) isSound(n *Node, since time.Time) time.Time {
	m.Helper()
	return m.says(n, since, metav1.ConditionTrue, v1alpha1.ReasonTLSSecretReady)
}

// withinOneScrape requires that the metric took on a value with the first scrape after a moment.
func (m *monitored) withinOneScrape(n *Node, value float64, moment time.Time) {
	m.Helper()
	m.prometheus.awaitValue(m.of(secretReady, n), value)
	found, err := m.prometheus.query(m.of(secretReady, n) + "[2m]")
	require.NoError(m, err)
	require.Len(m, found, 1)
	samples := found[0].Values
	first := len(samples) - 1
	for first > 0 && samples[first-1].value == value {
		first--
	}
	late := samples[first].at.Sub(moment)
	m.Logf("%s: %s is %v %s after the condition", n.name, secretReady, value, late.Round(time.Millisecond))
	const jitter = 500 * time.Millisecond
	require.Less(m, late, scrapeInterval+jitter, "from the condition to the metric")
}

// keepsPod requires that what happens in do costs no pod cycle.
func (m *monitored) keepsPod(n *Node, do func()) {
	m.Helper()
	n.cycles(0, do)
	n.requireServing()
}

// pages requires that an unsound Secret makes the alert fire, and that repairing it ends condition, metric and alert.
func (m *monitored) pages(n *Node, spoilt time.Time, repair func()) {
	m.Helper()
	m.withinOneScrape(n, 0, m.says(n, spoilt, metav1.ConditionFalse, v1alpha1.ReasonTLSSecretNotFound, "does not exist", m.ns+"/"))
	m.prometheus.awaitValue(m.alert(notReady, "firing", n), 1)
	m.Logf("%s: the alert fires %s after the Secret was spoilt", n.name, time.Since(spoilt).Round(time.Millisecond))
	began := time.Now()
	repair()
	n.eventually("the Secret is sound", func(o *v1alpha1.SeiNode) bool {
		return meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
	})
	m.withinOneScrape(n, 1, time.Now())
	m.prometheus.awaitNone(m.alert(notReady, "firing", n))
	m.Logf("%s: all clear %s after the repair began", n.name, time.Since(began).Round(time.Millisecond))
}

// createForGood creates an object that outlives the subtest; it goes with its namespace.
func (m *monitored) createForGood(o client.Object) {
	m.Helper()
	require.NoError(m, m.client.Create(m.Context(), o))
}

// replace puts another Secret in the place of one, whose type cannot change, and returns when it did.
func (m *monitored) replace(secret *corev1.Secret) time.Time {
	m.Helper()
	m.delete(secret.Name, &corev1.Secret{})
	require.NoError(m, m.client.Create(m.Context(), secret))
	return time.Now()
}

// sound90 is a sound Secret "own", valid for long enough that no other alert fires.
func (m *monitored) sound90() *corev1.Secret {
	m.Helper()
	cert, key := m.ca.pair(time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour), m.own.names()...)
	return m.ca.secret("own", cert, key)
}

// provision provisions the Secret "own", and returns when it did.
func (m *monitored) provision() time.Time {
	m.Helper()
	m.createForGood(m.sound90())
	return time.Now()
}
