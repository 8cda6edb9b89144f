package resources_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func TestStatefulSetGolden(t *testing.T) {
	n, o := node(), resources.OwnerOf(node())
	golden(t, "statefulset-tls-off", resources.StatefulSet(o, resources.NodeTemplateFor(n, target(nil), platform())))
	golden(t, "statefulset-tls-issuer", resources.StatefulSet(o, resources.NodeTemplateFor(n, target(issuer("sei-ca")), platform())))
	golden(t, "statefulset-tls-secret", resources.StatefulSet(o, resources.NodeTemplateFor(n, target(secret("mine")), platform())))
}

func TestServiceGolden(t *testing.T) {
	n, o := node(), resources.OwnerOf(node())
	golden(t, "service-tls-off", resources.Service(o, resources.ServiceParamsFor(n, target(nil))))
	golden(t, "service-tls-on", resources.Service(o, resources.ServiceParamsFor(n, target(issuer("sei-ca")))))
}

func TestCertificateGolden(t *testing.T) {
	n, o := node(), resources.OwnerOf(node())
	golden(t, "certificate", resources.Certificate(o, resources.SidecarCertParamsFor(n, issuer("sei-ca"), platform())))
}

func TestProxyConfigGolden(t *testing.T) {
	n, o := node(), resources.OwnerOf(node())
	golden(t, "proxy-config", resources.ProxyConfig(o, resources.RBACProxyConfigParamsFor(n)))
}

func TestDataPVCGolden(t *testing.T) {
	n, o := node(), resources.OwnerOf(node())
	s := platform()
	s.Storage.ClassName = "fast"
	golden(t, "pvc", resources.DataPVC(o, resources.DataPVCParamsFor(n, s)))
}

// Params are persisted in the plan: what is rendered from them must survive JSON, or a rendered object would change with
// the restart of a driver.
func TestRenderSurvivesPersistence(t *testing.T) {
	before := resources.NodeTemplateFor(node(), target(issuer("sei-ca")), platform())
	raw, err := yaml.Marshal(before)
	require.NoError(t, err)
	var after v1alpha1.NodeTemplate
	require.NoError(t, yaml.UnmarshalStrict(raw, &after))
	o := resources.OwnerOf(node())
	a, err := yaml.Marshal(resources.StatefulSet(o, before))
	require.NoError(t, err)
	b, err := yaml.Marshal(resources.StatefulSet(o, after))
	require.NoError(t, err)
	require.Equal(t, string(a), string(b))
}

// The proxy drops keys that it does not know: each of these has to be there under exactly this name.
func TestProxyConfigKeys(t *testing.T) {
	cm := resources.ProxyConfig(resources.OwnerOf(node()), resources.RBACProxyConfigParamsFor(node()))
	var got map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(cm.Data[resources.ProxyConfigKey]), &got))
	require.Equal(t, map[string]any{"authorization": map[string]any{"resourceAttributes": map[string]any{
		"apiGroup": "sei.io", "apiVersion": "v1alpha1", "resource": "seinodetasks", "namespace": "sei", "name": "archive-0",
	}}}, got)
}

// Names that YAML would read as something else must stay strings.
func TestProxyConfigQuotesNames(t *testing.T) {
	o := resources.Owner{Namespace: "123", Name: "no"}
	cm := resources.ProxyConfig(o, v1alpha1.RBACProxyConfigParams{Name: "x"})
	var got struct {
		Authorization struct {
			ResourceAttributes map[string]any `json:"resourceAttributes"`
		} `json:"authorization"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(cm.Data[resources.ProxyConfigKey]), &got))
	require.Equal(t, "123", got.Authorization.ResourceAttributes["namespace"])
	require.Equal(t, "no", got.Authorization.ResourceAttributes["name"])
}
