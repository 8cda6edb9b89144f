package config

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/operator"
)

// ruleFile is a rule file of Prometheus, as far as the tests look at it.
type ruleFile struct {
	Groups []ruleGroup `json:"groups"`
}

type ruleGroup struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func alerts(t *testing.T) []rule {
	t.Helper()
	data, err := AlertRules()
	require.NoError(t, err)
	var f ruleFile
	require.NoError(t, yaml.Unmarshal(data, &f))
	var out []rule
	for _, g := range f.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

func TestMonitoringIsInAnOrderThatCanBeApplied(t *testing.T) {
	t.Parallel()
	objects, err := Monitoring()
	require.NoError(t, err)
	require.Equal(t, []string{
		"ServiceAccount seictl-metrics",
		"Secret seictl-metrics-token",
		"ClusterRoleBinding seictl-metrics",
		"PodMonitor seictl-operator",
		"PrometheusRule seictl",
		"ConfigMap seictl-dashboard",
	}, ids(objects))
	for _, o := range objects {
		require.Equal(t, "seictl", o.GetLabels()["app.kubernetes.io/part-of"], o.GetName())
		require.False(t, KeepExisting(o), o.GetName())
		require.Equal(t, o.GetKind() != "ClusterRoleBinding", o.GetNamespace() == "sei-system", o.GetName())
	}
}

func TestAlertsSayWhatAPagerNeeds(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, r := range alerts(t) {
		found[r.Alert] = true
		require.NotEmpty(t, r.Alert, "a rule without a name")
		require.NotEmpty(t, r.For, r.Alert)
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		require.Equal(t, "platform", r.Labels["team"], r.Alert)
		for _, a := range []string{"summary", "description", "runbook", "runbook_url"} {
			require.NotEmpty(t, r.Annotations[a], "%s: %s", r.Alert, a)
		}
	}
	require.True(t, found["SeiNodeSidecarTLSSecretNotReady"])
}

// registry notes what is registered.
type registry struct {
	prometheus.Registerer
	names []string
}

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (r *registry) Register(c prometheus.Collector) error {
	descriptions := make(chan *prometheus.Desc, 100)
	c.Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		r.names = append(r.names, fqName.FindStringSubmatch(d.String())[1])
	}
	return nil
}

// operatorMetrics are the names of the operator's own metrics.
func operatorMetrics(t *testing.T) []string {
	t.Helper()
	r := &registry{}
	require.NoError(t, (&operator.Metrics{}).Register(r))
	return r.names
}

// knownMetrics are what the operator tells, and what controller-runtime tells of it.
func knownMetrics(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{"leader_election_master_status": true, "ALERTS": true}
	for _, name := range operatorMetrics(t) {
		known[name] = true
	}
	require.True(t, known["seinode_sidecar_tls_secret_ready"])
	return known
}

var (
	notMetrics = regexp.MustCompile(`"[^"]*"|\[[^\]]*\]|\{[^}]*\}|\b(by|on|without|ignoring)\s*\([^)]*\)|\b[0-9][0-9.]*\b`)
	identifier = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	histogram  = regexp.MustCompile(`_(bucket|sum|count)$`)
	operators  = []string{"or", "and", "unless", "bool"}
)

// metricsIn are the metrics that a PromQL expression reads.
func metricsIn(expr string) []string {
	var out []string
	for _, word := range identifier.FindAllString(notMetrics.ReplaceAllString(expr, " "), -1) {
		word = strings.TrimSpace(word)
		if !strings.HasSuffix(word, "(") && !slices.Contains(operators, word) {
			out = append(out, word)
		}
	}
	return out
}

func requireKnownMetrics(t *testing.T, where, expr string) {
	t.Helper()
	known := knownMetrics(t)
	for _, m := range metricsIn(expr) {
		require.True(t, known[m] || known[histogram.ReplaceAllString(m, "")], "%s reads %s, which nobody tells:\n%s", where, m, expr)
	}
}

func TestAlertsReadMetricsThatExist(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"a_b", "c"}, metricsIn(`max by (namespace, name) (last_over_time(a_b{x="y"}[10m])) unless on () (c == 1) > 3600`))
	for _, r := range alerts(t) {
		require.NotEmpty(t, metricsIn(r.Expr), r.Alert)
		requireKnownMetrics(t, r.Alert, r.Expr)
		if strings.Contains(r.Expr, "leader_election_master_status") {
			require.Contains(t, r.Expr, fmt.Sprintf("leader_election_master_status{name=%q}", lock.Name), r.Alert)
		}
	}
}

// dashboard is a Grafana dashboard, as far as the tests look at it.
type dashboard struct {
	UID         string  `json:"uid"`
	Title       string  `json:"title"`
	Panels      []panel `json:"panels"`
	Annotations struct {
		List []struct {
			Expr string `json:"expr"`
		} `json:"list"`
	} `json:"annotations"`
}

type panel struct {
	ID          int                            `json:"id"`
	Type        string                         `json:"type"`
	Title       string                         `json:"title"`
	Description string                         `json:"description"`
	Datasource  struct{ UID string }           `json:"datasource"`
	GridPos     struct{ X, Y, W, H int }       `json:"gridPos"`
	Targets     []struct{ Expr, RefID string } `json:"targets"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	data, err := Dashboard()
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(data, &d))
	return d
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	require.Equal(t, "seictl", d.UID)
	require.NotEmpty(t, d.Title)
	seen, taken, read := map[int]bool{}, map[[2]int]string{}, map[string]bool{}
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Title)
		require.False(t, seen[p.ID], "two panels have the id %d", p.ID)
		seen[p.ID] = true
		require.Positive(t, p.GridPos.W, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%s sticks out", p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies on another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Targets, p.Title)
		require.NotEmpty(t, p.Description, p.Title)
		require.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		refs := map[string]bool{}
		for _, q := range p.Targets {
			require.False(t, refs[q.RefID], "%s: two queries %s", p.Title, q.RefID)
			refs[q.RefID] = true
			requireKnownMetrics(t, p.Title, q.Expr)
			for _, m := range metricsIn(q.Expr) {
				read[histogram.ReplaceAllString(m, "")] = true
			}
		}
	}
	for _, m := range operatorMetrics(t) {
		if m != "seinode_plan_active" && m != "seinode_paused" { // the one is in seinode_plan_started_…, the other in the spec
			require.True(t, read[m], "no panel shows %s", m)
		}
	}
}

// promtool runs Prometheus' own tool. hack/install-promtool.sh installs it, and `make verify` runs that.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed; next: hack/install-promtool.sh")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// Grafana's variables, as Grafana would fill them in.
var grafana = strings.NewReplacer("$namespace", ".*", "$__rate_interval", "1m", "$__range", "6h")

// Prometheus' parser reads every query of the dashboard, as a recording rule.
func TestDashboardQueriesParse(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	var exprs []string
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			exprs = append(exprs, q.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		exprs = append(exprs, a.Expr)
	}
	g := ruleGroup{Name: "dashboard"}
	for i, e := range exprs {
		e = grafana.Replace(e)
		require.NotContains(t, e, "$", "a variable that this test does not know")
		g.Rules = append(g.Rules, rule{Record: fmt.Sprintf("dashboard:query:%d", i), Expr: e})
	}
	data, err := yaml.Marshal(ruleFile{Groups: []ruleGroup{g}})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "queries.yaml"), data, 0o600))
	promtool(t, dir, "check", "rules", "queries.yaml")
}
