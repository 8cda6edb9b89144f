//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/config"
)

// What a test cannot wait for is shorter than what is shipped: scrapes, and the time of every alert.
const (
	scrapeInterval = time.Second
	alertFor       = 6 * time.Second
)

// prometheus is a real one, a process of this machine, that scrapes the operator as the PodMonitor says and has the alerts
// that seictl installs.
type prometheus struct {
	s        *S
	url, dir string
}

// startPrometheus starts Prometheus until the test ends.
func (s *S) startPrometheus() *prometheus {
	s.Helper()
	if _, err := exec.LookPath("prometheus"); err != nil {
		out, err := exec.CommandContext(s.Context(), "../hack/install-promtool.sh").CombinedOutput()
		require.NoError(s, err, string(out))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s, err)
	address := listener.Addr().String()
	require.NoError(s, listener.Close())
	p := &prometheus{s: s, url: "http://" + address, dir: s.TempDir()}
	p.configure()
	p.target()
	var log bytes.Buffer
	cmd := exec.CommandContext(background(), "prometheus", "--config.file="+p.path("prometheus.yaml"),
		"--storage.tsdb.path="+p.path("data"), "--web.listen-address="+address, "--log.level=warn")
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, &log, &log
	require.NoError(s, cmd.Start())
	s.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if s.Failed() {
			s.Logf("prometheus: %s", log.String())
		}
	})
	s.eventually("Prometheus is ready", func() error { return p.get("/-/ready", nil, nil) })
	return p
}

func (p *prometheus) path(name string) string { return filepath.Join(p.dir, name) }

func (p *prometheus) write(name string, content any) {
	p.s.Helper()
	data, ok := content.([]byte)
	if !ok {
		var err error
		data, err = yaml.Marshal(content)
		require.NoError(p.s, err)
	}
	// In one step: Prometheus may be reading it.
	require.NoError(p.s, os.WriteFile(p.path(name+".new"), data, 0o600))
	require.NoError(p.s, os.Rename(p.path(name+".new"), p.path(name)))
}

// secretKey names a key of a Secret.
type secretKey struct{ Name, Key string }

// endpoint is the endpoint of the PodMonitor.
type endpoint struct {
	Scheme, Path string
	HonorLabels  bool
	TLSConfig    struct {
		ServerName string
		CA         struct{ Secret secretKey }
	}
	Authorization struct{ Credentials secretKey }
}

// configure makes of the PodMonitor what prometheus-operator would.
func (p *prometheus) configure() {
	p.s.Helper()
	e := p.applyMonitoring()
	p.write("token", p.secret(e.Authorization.Credentials))
	p.write("ca.crt", p.secret(e.TLSConfig.CA.Secret))
	p.write("rules.yaml", p.rules())
	p.write("prometheus.yaml", map[string]any{
		"global":     map[string]any{"scrape_interval": scrapeInterval.String(), "evaluation_interval": "1s"},
		"rule_files": []string{"rules.yaml"},
		"scrape_configs": []any{map[string]any{
			"job_name": "seictl-operator", "scheme": e.Scheme, "metrics_path": e.Path, "honor_labels": e.HonorLabels,
			"authorization":   map[string]any{"credentials_file": "token"},
			"tls_config":      map[string]any{"ca_file": "ca.crt", "server_name": e.TLSConfig.ServerName},
			"file_sd_configs": []any{map[string]any{"files": []string{"targets.yaml"}}},
		}},
	})
}

// applyMonitoring applies what `seictl install monitoring` prints, without the kinds of prometheus-operator, which the lab
// does not have, and returns what its PodMonitor scrapes.
func (p *prometheus) applyMonitoring() (e endpoint) {
	p.s.Helper()
	objects, err := config.Monitoring()
	require.NoError(p.s, err)
	for _, o := range objects {
		switch {
		case o.GetKind() == "PodMonitor":
			found, _, err := unstructured.NestedSlice(o.Object, "spec", "podMetricsEndpoints")
			require.NoError(p.s, err)
			data, err := json.Marshal(found[0])
			require.NoError(p.s, err)
			require.NoError(p.s, json.Unmarshal(data, &e))
		case o.GroupVersionKind().Group != "monitoring.coreos.com":
			// It may be there, from a suite that was killed.
			require.NoError(p.s, client.IgnoreNotFound(p.s.client.Delete(p.s.Context(), o.DeepCopy())))
			p.s.create(o)
		}
	}
	return e
}

// secret reads from a Secret that somebody fills.
func (p *prometheus) secret(from secretKey) (value []byte) {
	p.s.Helper()
	p.s.eventually("Secret "+from.Name+" is filled", func() error {
		var secret corev1.Secret
		if err := p.s.client.Get(p.s.Context(), types.NamespacedName{Namespace: operatorKey.Namespace, Name: from.Name}, &secret); err != nil {
			return err
		}
		if value = secret.Data[from.Key]; len(value) == 0 {
			return fmt.Errorf("no %s in it", from.Key)
		}
		return nil
	})
	return value
}

// rules are the alerts that seictl installs, each after a shorter time.
func (p *prometheus) rules() any {
	p.s.Helper()
	data, err := config.AlertRules()
	require.NoError(p.s, err)
	var file struct {
		Groups []struct {
			Name     string           `json:"name"`
			Interval string           `json:"interval"`
			Rules    []map[string]any `json:"rules"`
		} `json:"groups"`
	}
	require.NoError(p.s, yaml.UnmarshalStrict(data, &file))
	for i := range file.Groups {
		file.Groups[i].Interval = "1s"
		for _, r := range file.Groups[i].Rules {
			require.NotEmpty(p.s, r["for"])
			r["for"] = alertFor.String()
		}
	}
	return file
}

// target scrapes the operator that leads now.
func (p *prometheus) target() {
	p.s.Helper()
	var pod corev1.Pod
	require.NoError(p.s, p.s.client.Get(p.s.Context(), types.NamespacedName{Namespace: operatorKey.Namespace, Name: p.s.operatorPod()}, &pod))
	address := net.JoinHostPort(pod.Status.PodIP, "8443")
	p.s.metricsTLS(address) // the certificate has come
	p.write("targets.yaml", []any{map[string]any{"targets": []string{address}}})
}

func (p *prometheus) get(path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// series is a series with its samples, one for an instant query.
type series struct {
	Metric map[string]string
	Value  sample
	Values []sample
}

// sample is a value at a time.
type sample struct {
	at    time.Time
	value float64
}

// UnmarshalJSON reads [seconds, "value"].
func (s *sample) UnmarshalJSON(data []byte) error {
	var pair [2]any
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	seconds, ok := pair[0].(float64)
	text, isText := pair[1].(string)
	if !ok || !isText {
		return fmt.Errorf("no sample: %s", data)
	}
	var err error
	s.at = time.UnixMilli(int64(seconds * 1000))
	s.value, err = strconv.ParseFloat(text, 64)
	return err
}

// query asks Prometheus.
func (p *prometheus) query(expr string) ([]series, error) {
	var answer struct{ Data struct{ Result []series } }
	if err := p.get("/api/v1/query", url.Values{"query": {expr}}, &answer); err != nil {
		return nil, fmt.Errorf("asking for %s: %w", expr, err)
	}
	return answer.Data.Result, nil
}

// awaitValue waits until there is exactly one series, with this value.
func (p *prometheus) awaitValue(expr string, want float64) {
	p.s.Helper()
	p.s.eventually(fmt.Sprintf("%s is %v", expr, want), func() error {
		found, err := p.query(expr)
		if err == nil && (len(found) != 1 || found[0].Value.value != want) {
			err = fmt.Errorf("found %+v", found)
		}
		return err
	})
}

// awaitNone waits until an expression has no series.
func (p *prometheus) awaitNone(expr string) {
	p.s.Helper()
	p.s.eventually("no series: "+expr, func() error {
		found, err := p.query(expr)
		if err == nil && len(found) > 0 {
			err = fmt.Errorf("found %+v", found)
		}
		return err
	})
}

// in is Prometheus as a subtest uses it.
func (p *prometheus) in(s *S) *prometheus {
	c := *p
	c.s = s
	return &c
}
