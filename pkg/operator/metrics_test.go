package operator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// nodeList is a cache that holds these nodes.
type nodeList struct {
	client.Reader
	nodes []v1alpha1.SeiNode
	err   error
}

func (l *nodeList) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	into.(*v1alpha1.SeiNodeList).Items = l.nodes
	return l.err
}

// scrape gathers everything as `metric{label="value",…}` → value.
func scrape(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, m.Register(r))
	families, err := r.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			labels := make([]string, 0, len(metric.GetLabel()))
			for _, l := range metric.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			got[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = metric.GetGauge().GetValue()
		}
	}
	return got
}

func metricsNode(edit func(*v1alpha1.SeiNode)) v1alpha1.SeiNode {
	n := v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0"}}
	n.Spec.ChainID = "arctic-1"
	if edit != nil {
		edit(&n)
	}
	return n
}

func condition(kind string, status metav1.ConditionStatus, reason string) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) {
		n.Status.Conditions = []metav1.Condition{{Type: kind, Status: status, Reason: reason}}
	}
}

func TestMetricsOfOneNode(t *testing.T) {
	t.Parallel()
	const of = "{name=ax-0,namespace=fleet}"
	notAfter := metav1.NewTime(time.Unix(1_800_000_000, 0))
	serves := func(fingerprint, secretReason string) func(*v1alpha1.SeiNode) {
		return func(n *v1alpha1.SeiNode) {
			condition(v1alpha1.ConditionSidecarTLSSecretReady, metav1.ConditionTrue, secretReason)(n)
			n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{FingerprintSHA256: fingerprint, NotAfter: &notAfter}
		}
	}
	secret, update := v1alpha1.ConditionSidecarTLSSecretReady, v1alpha1.ConditionNodeUpdateInProgress
	for name, c := range map[string]struct {
		edit func(*v1alpha1.SeiNode)
		want map[string]float64 // besides the zeros that every node has
	}{
		"TLS off": {nil, nil},
		"Secret sound": {condition(secret, metav1.ConditionTrue, v1alpha1.ReasonTLSSecretReady),
			map[string]float64{"seinode_sidecar_tls_secret_ready" + of: 1}},
		"Secret gone": {condition(secret, metav1.ConditionFalse, v1alpha1.ReasonTLSSecretNotFound),
			map[string]float64{"seinode_sidecar_tls_secret_ready" + of: 0}},
		"Secret unreadable": {condition(secret, metav1.ConditionUnknown, v1alpha1.ReasonTLSSecretUnavailable),
			map[string]float64{"seinode_sidecar_tls_secret_ready" + of: 0}},
		"serves the leaf of the Secret": {serves("in-secret", v1alpha1.ReasonTLSSecretReady), map[string]float64{
			"seinode_sidecar_tls_secret_ready" + of: 1, "seinode_sidecar_tls_served_cert_current" + of: 1,
			"seinode_sidecar_tls_cert_not_after_timestamp_seconds" + of: 1_800_000_000}},
		"serves what nobody vouches for": {serves("", v1alpha1.ReasonTLSSecretReady), map[string]float64{
			"seinode_sidecar_tls_secret_ready" + of: 1, "seinode_sidecar_tls_served_cert_current" + of: 0,
			"seinode_sidecar_tls_cert_not_after_timestamp_seconds" + of: 1_800_000_000}},
		"serves another leaf": {serves("older", v1alpha1.ReasonTLSSecretReady), map[string]float64{
			"seinode_sidecar_tls_secret_ready" + of: 1, "seinode_sidecar_tls_served_cert_current" + of: 0,
			"seinode_sidecar_tls_cert_not_after_timestamp_seconds" + of: 1_800_000_000}},
		"nothing to compare with": {serves("older", v1alpha1.ReasonTLSSecretUnavailable), map[string]float64{
			"seinode_sidecar_tls_secret_ready" + of:                     1,
			"seinode_sidecar_tls_cert_not_after_timestamp_seconds" + of: 1_800_000_000}},
		"plan active": {func(n *v1alpha1.SeiNode) {
			n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Causes: []v1alpha1.PlanCause{v1alpha1.SidecarTLSDrift},
				Phase: v1alpha1.PlanActive, StartedAt: metav1.NewMicroTime(time.UnixMilli(1_700_000_000_500))}
		}, map[string]float64{
			"seinode_plan_active" + of: 1,
			"seinode_plan_started_timestamp_seconds{name=ax-0,namespace=fleet,type=tls-toggle}": 1_700_000_000.5}},
		"plan failed and kept": {func(n *v1alpha1.SeiNode) {
			n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanFailed}
		}, nil},
		"update queued": {condition(update, metav1.ConditionTrue, v1alpha1.ReasonUpdateQueued),
			map[string]float64{"seinode_update_queued{chain=arctic-1,name=ax-0,namespace=fleet}": 1}},
		"update failed": {condition(update, metav1.ConditionFalse, v1alpha1.ReasonUpdateFailed),
			map[string]float64{"seinode_update_failed{name=ax-0,namespace=fleet,reason=UpdateFailed}": 1}},
		"update rolled back": {condition(update, metav1.ConditionFalse, v1alpha1.ReasonRolledBack),
			map[string]float64{"seinode_update_failed{name=ax-0,namespace=fleet,reason=RolledBack}": 1}},
		"update blocked":  {condition(update, metav1.ConditionFalse, v1alpha1.ReasonUpdateBlocked), nil},
		"update complete": {condition(update, metav1.ConditionFalse, v1alpha1.ReasonUpdateComplete), nil},
		"paused":          {func(n *v1alpha1.SeiNode) { n.Spec.Paused = true }, map[string]float64{"seinode_paused" + of: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string]float64{
				"seinode_plan_active" + of: 0, "seinode_paused" + of: 0,
				"seinode_update_queued{chain=arctic-1,name=ax-0,namespace=fleet}": 0,
			}
			for k, v := range c.want {
				want[k] = v
			}
			m := &Metrics{
				Reader: &nodeList{nodes: []v1alpha1.SeiNode{metricsNode(c.edit)}},
				ServesSecret: func(n *v1alpha1.SeiNode) (bool, bool) {
					return n.Status.CurrentSidecarTLS.FingerprintSHA256 == "in-secret", true
				},
			}
			require.Equal(t, want, scrape(t, m))
		})
	}
}

// A deletion that nobody told us of cannot leave a series: what is told is what the cache holds.
func TestMetricsOfNodesThatAreGone(t *testing.T) {
	t.Parallel()
	cache := &nodeList{nodes: []v1alpha1.SeiNode{metricsNode(condition(v1alpha1.ConditionSidecarTLSSecretReady,
		metav1.ConditionFalse, v1alpha1.ReasonTLSSecretNotFound))}}
	m := &Metrics{Reader: cache}
	require.NotEmpty(t, scrape(t, m))
	cache.nodes = nil
	require.Empty(t, scrape(t, m))
}

func TestMetricsOfAReplicaThatDoesNotLead(t *testing.T) {
	t.Parallel()
	m := &Metrics{Reader: &nodeList{nodes: []v1alpha1.SeiNode{metricsNode(nil)}}, Active: func() bool { return false }}
	require.Empty(t, scrape(t, m))
}

// A cache that cannot be read is no reason to lose the histograms.
func TestMetricsWithoutCache(t *testing.T) {
	t.Parallel()
	m := &Metrics{Reader: &nodeList{err: errors.New("no cache")}, Log: logr.Discard()}
	require.Empty(t, scrape(t, m))
}

func TestMetricsOfPlansThatEnded(t *testing.T) {
	t.Parallel()
	m := &Metrics{Reader: &nodeList{}}
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, m.Register(r))
	start := time.Unix(1_700_000_000, 0)
	at := func(d time.Duration) *metav1.MicroTime {
		mt := metav1.NewMicroTime(start.Add(d))
		return &mt
	}
	p := &v1alpha1.Plan{ID: "p1", Kind: v1alpha1.NodeUpdate, Causes: []v1alpha1.PlanCause{v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift},
		StartedAt: *at(0), Tasks: []v1alpha1.Task{
			{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskComplete, StartedAt: at(time.Second), FinishedAt: at(4 * time.Second)},
			{Type: v1alpha1.TaskMarkReady, Status: v1alpha1.TaskFailed, StartedAt: at(4 * time.Second), FinishedAt: at(5 * time.Second)},
			{Type: v1alpha1.TaskDeleteSidecarCert, Status: v1alpha1.TaskPending},
		}}
	node := metricsNode(func(n *v1alpha1.SeiNode) {
		n.Status.LastPlan = &v1alpha1.PlanSummary{ID: "p1", FinishedAt: *at(7 * time.Second)}
	})
	m.PlanEnded(&node, p, v1alpha1.PlanFailed)

	families, err := r.Gather()
	require.NoError(t, err)
	sums := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			key := f.GetName()
			for _, l := range metric.GetLabel() {
				key += " " + l.GetValue()
			}
			require.EqualValues(t, 1, metric.GetHistogram().GetSampleCount(), key)
			sums[key] = metric.GetHistogram().GetSampleSum()
		}
	}
	require.Equal(t, map[string]float64{
		"seinode_plan_duration_seconds failed node-update-tls": 7,
		"seinode_task_duration_seconds complete replace-pod":   3,
		"seinode_task_duration_seconds failed mark-ready":      1,
	}, sums)
}
