package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

func ids(objects []*unstructured.Unstructured) []string {
	var out []string
	for _, o := range objects {
		out = append(out, o.GetKind()+" "+o.GetName())
	}
	return out
}

func TestBaseIsInAnOrderThatCanBeApplied(t *testing.T) {
	t.Parallel()
	objects, err := Base()
	require.NoError(t, err)
	require.Equal(t, []string{
		"Namespace sei-system",
		"CustomResourceDefinition seinodes.sei.io",
		"CustomResourceDefinition seinodedeployments.sei.io",
		"ConfigMap seictl-config",
		"ServiceAccount seictl-client",
		"ClusterRole seictl-client",
		"ClusterRoleBinding seictl-client",
		"ClusterRole seictl-driver",
		"Role seictl-driver", "Role seictl-fleet",
		"ClusterRole seictl-driver-cluster",
		"ClusterRole seictl-viewer",
	}, ids(objects))
	for _, o := range objects {
		require.Equal(t, "seictl", o.GetLabels()["app.kubernetes.io/part-of"], o.GetName())
		require.Equal(t, o.GetKind() == "ConfigMap", KeepExisting(o), o.GetName())
	}
}

func parseSettings(t *testing.T, o *unstructured.Unstructured) settings.Settings {
	t.Helper()
	var cm corev1.ConfigMap
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &cm))
	require.Equal(t, settings.Namespace, cm.Namespace)
	require.Equal(t, settings.ConfigMapName, cm.Name)
	s, err := settings.Parse(cm.Data)
	require.NoError(t, err)
	return s
}

func TestSettingsShowTheDefaults(t *testing.T) {
	t.Parallel()
	objects, err := Base()
	require.NoError(t, err)
	require.Equal(t, settings.Default(), parseSettings(t, objects[3]))
}

func TestSettingsOfTheLab(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "e2e", "lab", "manifests", "10-settings.yaml"))
	require.NoError(t, err)
	o := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal(data, &o.Object))
	s := parseSettings(t, o)
	require.Equal(t, "lab.invalid/sei-sidecar:v1", s.SidecarImage)
	require.Equal(t, "64Mi", s.StorageSize(v1alpha1.ModeArchive))
}

func TestNodeNamespace(t *testing.T) {
	t.Parallel()
	objects, err := NodeNamespace("pacific")
	require.NoError(t, err)
	require.Equal(t, []string{"ServiceAccount seid-node", "ClusterRoleBinding seid-node-auth-delegator-pacific"}, ids(objects))
	require.Equal(t, "pacific", objects[0].GetNamespace())
	require.Equal(t, settings.Default().NodeServiceAccount, objects[0].GetName())
	var binding rbacv1.ClusterRoleBinding
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(objects[1].Object, &binding))
	require.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: "seid-node", Namespace: "pacific"}}, binding.Subjects)
}

func TestNodeNamespaceRefusesWhatIsNoName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Pacific", "a\nb: c"} {
		_, err := NodeNamespace(name)
		require.ErrorContains(t, err, "namespace", name)
	}
}

func TestOperator(t *testing.T) {
	t.Parallel()
	objects, err := Operator("registry.example/seictl:v1.2.3")
	require.NoError(t, err)
	require.Equal(t, []string{
		"Issuer seictl-metrics-bootstrap",
		"Certificate seictl-metrics-ca",
		"Issuer seictl-metrics-ca",
		"Certificate seictl-operator-metrics",
		"ServiceAccount seictl-operator",
		"ClusterRole seictl-operator",
		"ClusterRoleBinding seictl-operator",
		"Role seictl-operator",
		"RoleBinding seictl-operator",
		"ClusterRole seictl-metrics-reader",
		"Deployment seictl-operator",
		"Service seictl-operator-metrics",
		"PodDisruptionBudget seictl-operator",
		"NetworkPolicy seictl-operator",
	}, ids(objects))
	var d appsv1.Deployment
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(objects[10].Object, &d))
	c := d.Spec.Template.Spec.Containers[0]
	require.Equal(t, "registry.example/seictl:v1.2.3", c.Image)
	require.Equal(t, []string{"operator", "run"}, c.Args[:2])
	for i, o := range objects {
		require.Equal(t, "seictl", o.GetLabels()["app.kubernetes.io/part-of"], o.GetName())
		require.Equal(t, i < 4, NeedsCertManager(o), o.GetName())
		require.False(t, KeepExisting(o), o.GetName())
	}
}

func TestOperatorRefusesWhatIsNoImage(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"", "a b", "a\nb", `a"b`} {
		_, err := Operator(image)
		require.ErrorContains(t, err, "image", image)
	}
}

// Nobody but the engine's own ServiceAccount may ever call a sidecar, and no role may do everything.
func TestRolesGrantNoWildcards(t *testing.T) {
	t.Parallel()
	objects, err := Base()
	require.NoError(t, err)
	operator, err := Operator("x")
	require.NoError(t, err)
	for _, o := range append(objects, operator...) {
		if o.GetKind() != "Role" && o.GetKind() != "ClusterRole" {
			continue
		}
		var role rbacv1.ClusterRole
		require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role))
		require.NotEmpty(t, role.Rules)
		for _, rule := range role.Rules {
			for _, word := range append(append(rule.APIGroups, rule.Resources...), rule.Verbs...) {
				require.NotContains(t, word, "*", o.GetName())
			}
			if o.GetName() != "seictl-client" {
				require.NotContains(t, rule.Resources, "seinodetasks", o.GetName())
			}
		}
	}
}

func TestSamplesAreValid(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join("samples", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	byKind := schemas(t)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		object, err := yaml.YAMLToJSON(data)
		require.NoError(t, err)
		o := &unstructured.Unstructured{}
		require.NoError(t, o.UnmarshalJSON(object))
		require.Empty(t, byKind[o.GetKind()].admit(t, o, nil), path)
	}
}
