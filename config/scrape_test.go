package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// podMetricsEndpoint is the endpoint of the PodMonitor, as far as the tests look at it.
type podMetricsEndpoint struct {
	Port        string `json:"port"`
	Scheme      string `json:"scheme"`
	HonorLabels bool   `json:"honorLabels"`
	TLSConfig   struct {
		ServerName         string `json:"serverName"`
		InsecureSkipVerify bool   `json:"insecureSkipVerify"`
		CA                 struct {
			Secret secretKey `json:"secret"`
		} `json:"ca"`
	} `json:"tlsConfig"`
	Authorization struct {
		Credentials secretKey `json:"credentials"`
	} `json:"authorization"`
}

type secretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

func scrapedEndpoint(t *testing.T) podMetricsEndpoint {
	t.Helper()
	o, err := monitoringObject("PodMonitor")
	require.NoError(t, err)
	var m struct {
		Spec struct {
			PodMetricsEndpoints []podMetricsEndpoint `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &m))
	require.Len(t, m.Spec.PodMetricsEndpoints, 1)
	return m.Spec.PodMetricsEndpoints[0]
}

// object is the one of a kind and name among those of the operator, as its type.
func object(t *testing.T, kind, name string, into any) {
	t.Helper()
	objects, err := Operator("x")
	require.NoError(t, err)
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	require.GreaterOrEqual(t, i, 0, "%s %s", kind, name)
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, into))
}

// The PodMonitor must find the operator's pods, and leave the labels of a node as they are.
func TestPodMonitorFitsTheOperator(t *testing.T) {
	t.Parallel()
	endpoint := scrapedEndpoint(t)
	require.True(t, endpoint.HonorLabels)
	o, err := monitoringObject("PodMonitor")
	require.NoError(t, err)
	selector, _, err := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
	require.NoError(t, err)

	var d appsv1.Deployment
	object(t, "Deployment", "seictl-operator", &d)
	require.Subset(t, d.Spec.Template.Labels, selector)
	require.Equal(t, o.GetNamespace(), d.Namespace)
	var ports []string
	for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
		ports = append(ports, p.Name)
	}
	require.Contains(t, ports, endpoint.Port)
}

// Prometheus verifies whom it talks to: the certificate that the operator mounts is of the CA and for the name that the
// PodMonitor has.
func TestScrapesAreVerified(t *testing.T) {
	t.Parallel()
	endpoint := scrapedEndpoint(t)
	require.Equal(t, "https", endpoint.Scheme)
	require.False(t, endpoint.TLSConfig.InsecureSkipVerify)

	var leaf, ca cmv1.Certificate
	object(t, "Certificate", "seictl-operator-metrics", &leaf)
	object(t, "Certificate", "seictl-metrics-ca", &ca)
	require.Contains(t, leaf.Spec.DNSNames, endpoint.TLSConfig.ServerName)
	require.Equal(t, leaf.Spec.SecretName, endpoint.TLSConfig.CA.Secret.Name)
	require.Equal(t, "ca.crt", endpoint.TLSConfig.CA.Secret.Key)
	require.True(t, ca.Spec.IsCA)
	var issuer cmv1.Issuer
	object(t, "Issuer", leaf.Spec.IssuerRef.Name, &issuer)
	require.Equal(t, ca.Spec.SecretName, issuer.Spec.CA.SecretName)
	object(t, "Issuer", ca.Spec.IssuerRef.Name, &issuer)
	require.NotNil(t, issuer.Spec.SelfSigned)

	var svc corev1.Service
	object(t, "Service", "seictl-operator-metrics", &svc)
	require.Equal(t, svc.Name+"."+svc.Namespace+".svc", endpoint.TLSConfig.ServerName)

	var d appsv1.Deployment
	object(t, "Deployment", "seictl-operator", &d)
	pod, mounts := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0].VolumeMounts
	require.Len(t, mounts, 1)
	require.Contains(t, pod.Containers[0].Args, "--metrics-cert-dir="+mounts[0].MountPath)
	require.Equal(t, mounts[0].Name, pod.Volumes[0].Name)
	require.Equal(t, leaf.Spec.SecretName, pod.Volumes[0].Secret.SecretName)
	require.True(t, *pod.Volumes[0].Secret.Optional, "the operator does its work without cert-manager")
}

// The token that Prometheus shows is of the account that may get /metrics, and nothing else.
func TestScraperMayGetMetricsOnly(t *testing.T) {
	t.Parallel()
	credentials := scrapedEndpoint(t).Authorization.Credentials
	objects, err := Monitoring()
	require.NoError(t, err)
	var account, role string
	for _, o := range objects {
		switch {
		case o.GetKind() == "Secret" && o.GetName() == credentials.Name:
			account = o.GetAnnotations()["kubernetes.io/service-account.name"]
		case o.GetKind() == "ClusterRoleBinding":
			role, _, err = unstructured.NestedString(o.Object, "roleRef", "name")
			require.NoError(t, err)
		}
	}
	require.Equal(t, "seictl-metrics", account)
	var r rbacv1.ClusterRole
	object(t, "ClusterRole", role, &r)
	require.Equal(t, []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}, r.Rules)
}

// scrapeConfig of the guide, as far as the tests look at it.
type scrapeConfig struct {
	Scheme      string `json:"scheme"`
	HonorLabels bool   `json:"honor_labels"`
	TLSConfig   struct {
		CAFile     string `json:"ca_file"`
		ServerName string `json:"server_name"`
	} `json:"tls_config"`
}

var discovery = regexp.MustCompile(`(?m)^  kubernetes_sd_configs:.*\n`)

// The guide has a configuration for a Prometheus without an operator: Prometheus takes it, and it says what the PodMonitor says.
func TestScrapeConfigOfTheGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "docs", "operator.md"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(guide), "```yaml\n- job_name")
	job, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	job = "- job_name" + job

	var jobs []scrapeConfig
	require.NoError(t, yaml.Unmarshal([]byte(job), &jobs))
	require.Len(t, jobs, 1)
	endpoint := scrapedEndpoint(t)
	require.Equal(t, endpoint.Scheme, jobs[0].Scheme)
	require.Equal(t, endpoint.HonorLabels, jobs[0].HonorLabels)
	require.Equal(t, endpoint.TLSConfig.ServerName, jobs[0].TLSConfig.ServerName)
	require.NotEmpty(t, jobs[0].TLSConfig.CAFile)

	// Debian's Prometheus is built without the discovery of Kubernetes.
	require.Contains(t, job, "\n  kubernetes_sd_configs:")
	job = discovery.ReplaceAllString(job, "")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte("scrape_configs:\n"+job), 0o600))
	promtool(t, dir, "check", "config", "--syntax-only", "prometheus.yaml")
}
