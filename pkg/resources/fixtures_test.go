package resources_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares an object with its golden file.
func golden(t *testing.T, name string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	require.NoError(t, err)
	path := filepath.Join("testdata", name+".yaml")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update to make it")
	require.Equal(t, string(want), string(got), "run the test with -update if the change is meant")
}

// node is a node that uses every field that matters to a render.
func node() *v1alpha1.SeiNode {
	return &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sei", Name: "archive-0", UID: "6f3c0d7e-0000-4000-8000-000000000001"},
		Spec: v1alpha1.SeiNodeSpec{
			ChainID:   "arctic-1",
			Image:     "example.test/seid:v1",
			Archive:   &v1alpha1.ArchiveSpec{},
			PodLabels: map[string]string{"team": "infra", "sei.io/node": "impostor"},
			Overrides: map[string]string{"p2p.max_num_inbound_peers": "40"},
			Peers:     []v1alpha1.PeerSource{{Static: &v1alpha1.StaticPeers{Addresses: []string{"abc@peer.example.test:26656"}}}},
		},
	}
}

func platform() settings.Settings {
	s := settings.Default()
	s.SidecarImage = "example.test/sei-sidecar:v1"
	s.Resources = map[string]corev1.ResourceRequirements{
		v1alpha1.ModeArchive: {Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		}},
	}
	return s
}

func issuer(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{IssuerName: name}
}

func secret(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{SecretName: name}
}

func target(tls *v1alpha1.SidecarTLSConfig) v1alpha1.PlanTarget {
	return v1alpha1.PlanTarget{Image: "example.test/seid:v1", SidecarTLS: tls}
}
