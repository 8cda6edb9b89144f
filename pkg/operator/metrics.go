package operator

import (
	"context"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/plan"
)

// Metrics tells Prometheus of nodes, plans and tasks. What is a state is read from the cache at each scrape, so that it can
// neither drift nor outlive its node; what is a duration is observed once, when a plan ends.
type Metrics struct {
	// Reader is a cache of every SeiNode.
	Reader client.Reader
	// ServesSecret says whether a node was seen to serve the certificate in its Secret, where known.
	ServesSecret func(*v1alpha1.SeiNode) (serves, ok bool)
	// ServedChecks is how many times it was looked what a node serves, by what was found; nil means that nobody looks.
	ServedChecks func() map[engine.LookResult]uint64
	// Active says whether this process leads: two replicas must not both tell of a node. Nil means always.
	Active func() bool
	// Log of what goes wrong in a scrape.
	Log logr.Logger

	plans, tasks *prometheus.HistogramVec
}

// scrapeTimeout bounds one read of the cache.
const scrapeTimeout = 5 * time.Second

var (
	nodeLabels = []string{"namespace", "name"}

	descSecretReady = prometheus.NewDesc("seinode_sidecar_tls_secret_ready",
		"1 if the condition SidecarTLSSecretReady is True, 0 if it is False or Unknown; no series while TLS is off.", nodeLabels, nil)
	descNotAfter = prometheus.NewDesc("seinode_sidecar_tls_cert_not_after_timestamp_seconds",
		"When the certificate that the proxy was seen to serve expires, in seconds since the epoch.", nodeLabels, nil)
	descServedCurrent = prometheus.NewDesc("seinode_sidecar_tls_served_cert_current",
		"1 if the proxy was seen to serve the certificate in the Secret, sound or not; 0 while it serves another one.", nodeLabels, nil)
	descPlanActive = prometheus.NewDesc("seinode_plan_active",
		"1 while a plan of the node is active, else 0.", nodeLabels, nil)
	descQueued = prometheus.NewDesc("seinode_update_queued",
		"1 while an update of the node waits for a slot of its chain's budget, else 0.", append([]string{"chain"}, nodeLabels...), nil)
	descPlanStarted = prometheus.NewDesc("seinode_plan_started_timestamp_seconds",
		"When the active plan of the node was built, in seconds since the epoch; no series without one.", append([]string{"type"}, nodeLabels...), nil)
	descUpdateFailed = prometheus.NewDesc("seinode_update_failed",
		"1 while the condition NodeUpdateInProgress is False with this reason, UpdateFailed or RolledBack; else no series.",
		append([]string{"reason"}, nodeLabels...), nil)
	descServedChecks = prometheus.NewDesc("seinode_sidecar_tls_served_checks_total",
		"How many times this process looked which certificate a node serves, besides what plans look at. result is current: the "+
			"one in its Secret; other: another one; failed: it could not be seen, or cannot be verified.", []string{"result"}, nil)
	descPaused = prometheus.NewDesc("seinode_paused",
		"1 while spec.paused of the node is true, else 0.", nodeLabels, nil)
)

// descriptions are the metrics that are read from the cache.
var descriptions = []*prometheus.Desc{
	descSecretReady, descNotAfter, descServedCurrent, descPlanActive, descQueued, descPlanStarted, descUpdateFailed, descPaused,
	descServedChecks,
}

// Register adds the metrics to a registry.
func (m *Metrics) Register(r prometheus.Registerer) error {
	m.plans = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "seinode_plan_duration_seconds",
		Help:    "How long plans took from being built to their end, by type and outcome.",
		Buckets: []float64{1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200},
	}, []string{"type", "outcome"})
	m.tasks = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "seinode_task_duration_seconds",
		Help:    "How long tasks took from their start to their end, by task and outcome.",
		Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800},
	}, []string{"task", "outcome"})
	for _, c := range []prometheus.Collector{m.plans, m.tasks, m} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	if m.Active != nil && !m.Active() {
		return
	}
	if m.ServedChecks != nil {
		for result, n := range m.ServedChecks() {
			ch <- prometheus.MustNewConstMetric(descServedChecks, prometheus.CounterValue, float64(n), string(result))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var nodes v1alpha1.SeiNodeList
	if err := m.Reader.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		m.Log.Error(err, "listing SeiNodes for a scrape")
		return
	}
	for i := range nodes.Items {
		m.collect(&nodes.Items[i], ch)
	}
}

func (m *Metrics) collect(n *v1alpha1.SeiNode, ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append(labels, n.Namespace, n.Name)...)
	}
	secret := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
	if secret != nil {
		gauge(descSecretReady, bit(secret.Status == metav1.ConditionTrue))
	}
	if tls := n.Status.CurrentSidecarTLS; tls != nil {
		if tls.NotAfter != nil {
			gauge(descNotAfter, float64(tls.NotAfter.Unix()))
		}
		if serves, ok := m.servesSecret(n, secret); ok {
			gauge(descServedCurrent, bit(serves))
		}
	}
	m.collectPlan(n, gauge)
}

// collectPlan tells of plans and updates of a node.
func (m *Metrics) collectPlan(n *v1alpha1.SeiNode, gauge func(*prometheus.Desc, float64, ...string)) {
	p := n.Status.Plan
	gauge(descPlanActive, bit(p.Active()))
	if p.Active() {
		gauge(descPlanStarted, float64(p.StartedAt.UnixMilli())/1000, plan.Classify(p.Kind, p.Causes))
	}
	gauge(descPaused, bit(n.Spec.Paused))
	update := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionNodeUpdateInProgress)
	if update == nil {
		update = &metav1.Condition{}
	}
	gauge(descQueued, bit(update.Status == metav1.ConditionTrue && update.Reason == v1alpha1.ReasonUpdateQueued), n.Spec.ChainID)
	if update.Status == metav1.ConditionFalse &&
		(update.Reason == v1alpha1.ReasonUpdateFailed || update.Reason == v1alpha1.ReasonRolledBack) {
		gauge(descUpdateFailed, 1, update.Reason)
	}
}

// servesSecret says whether a node serves the certificate in its Secret; not ok when there is none to compare with.
func (m *Metrics) servesSecret(n *v1alpha1.SeiNode, secret *metav1.Condition) (serves, ok bool) {
	if m.ServesSecret == nil || secret == nil {
		return false, false
	}
	switch secret.Reason {
	case v1alpha1.ReasonTLSSecretNotFound, v1alpha1.ReasonTLSSecretMalformed, v1alpha1.ReasonTLSSecretUnavailable:
		return false, false
	}
	return m.ServesSecret(n)
}

// PlanEnded observes a plan that ended, and its tasks.
func (m *Metrics) PlanEnded(node *v1alpha1.SeiNode, p *v1alpha1.Plan, outcome v1alpha1.PlanPhase) {
	var finished time.Time
	switch last := node.Status.LastPlan; {
	case last != nil && last.ID == p.ID:
		finished = last.FinishedAt.Time
	case p.FinishedAt != nil:
		finished = p.FinishedAt.Time
	default:
		return
	}
	m.plans.WithLabelValues(plan.Classify(p.Kind, p.Causes), strings.ToLower(string(outcome))).
		Observe(finished.Sub(p.StartedAt.Time).Seconds())
	for i := range p.Tasks {
		t := &p.Tasks[i]
		if t.StartedAt != nil && t.FinishedAt != nil {
			m.tasks.WithLabelValues(string(t.Type), strings.ToLower(string(t.Status))).
				Observe(t.FinishedAt.Sub(t.StartedAt.Time).Seconds())
		}
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
