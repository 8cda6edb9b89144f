package resources_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

func imported() *v1alpha1.SeiNode {
	n := node()
	n.Spec.DataVolume = &v1alpha1.DataVolume{Import: &v1alpha1.DataVolumeImport{PVCName: "old-data"}}
	return n
}

func TestNames(t *testing.T) {
	require.Equal(t, "data-archive-0", resources.ClaimName(node()))
	require.Equal(t, "old-data", resources.ClaimName(imported()))
	require.Equal(t, "archive-0-0", resources.PodName("archive-0"))
	require.Equal(t, "archive-0-sidecar-tls", resources.CertificateName("archive-0"))
	require.Equal(t, "archive-0-rbac-proxy-config", resources.ProxyConfigName("archive-0"))
	require.Empty(t, resources.SecretName("archive-0", nil))
	require.Equal(t, "archive-0-sidecar-tls", resources.SecretName("archive-0", issuer("sei-ca")))
	require.Equal(t, "mine", resources.SecretName("archive-0", secret("mine")))
}

func TestOwnerReference(t *testing.T) {
	ref := resources.OwnerOf(node()).Reference()
	require.Equal(t, "sei.io/v1alpha1", ref.APIVersion)
	require.Equal(t, "SeiNode", ref.Kind)
	require.Equal(t, node().UID, ref.UID)
	require.True(t, *ref.Controller)
	require.True(t, *ref.BlockOwnerDeletion)
}

func TestDataPVCParams(t *testing.T) {
	s := platform()
	s.Storage.Size[v1alpha1.ModeArchive] = "20Ti"
	p := resources.DataPVCParamsFor(node(), s)
	require.Equal(t, v1alpha1.DataPVCParams{ClaimName: "data-archive-0", ChainID: "arctic-1", Size: "20Ti"}, p)
	pvc := resources.DataPVC(resources.OwnerOf(node()), p)
	require.Empty(t, pvc.OwnerReferences, "deleting a SeiNode never deletes chain data")
	require.Nil(t, pvc.Spec.StorageClassName, "the cluster's default")

	require.Equal(t, v1alpha1.DataPVCParams{ClaimName: "old-data", ChainID: "arctic-1", Imported: true},
		resources.DataPVCParamsFor(imported(), s))
}

func TestTLSSecretParams(t *testing.T) {
	want := []string{"archive-0.sei.svc.cluster.local", "archive-0-0.archive-0.sei.svc.cluster.local"}
	p := resources.TLSSecretParamsFor(node(), issuer("sei-ca"), platform())
	require.Equal(t, v1alpha1.SidecarTLSConfig{IssuerName: "sei-ca", IssuerKind: "ClusterIssuer"}, p.TLS, "normalised")
	require.Equal(t, "archive-0-sidecar-tls", p.SecretName)
	require.Equal(t, want, p.DNSNames)
	require.Equal(t, "mine", resources.TLSSecretParamsFor(node(), secret("mine"), platform()).SecretName)
	require.Zero(t, resources.TLSSecretParamsFor(node(), nil, platform()))

	w := resources.WantOf("sei", p)
	require.Equal(t, "sei", w.Namespace)
	require.Equal(t, p.TLS, w.TLS)
	require.Equal(t, want, w.DNSNames)
}

func TestSidecarCertParams(t *testing.T) {
	p := resources.SidecarCertParamsFor(node(), issuer("sei-ca"), platform())
	require.Equal(t, "ClusterIssuer", p.IssuerKind)
	require.Equal(t, "ECDSA", p.KeyAlgorithm)
	cert := resources.Certificate(resources.OwnerOf(node()), p)
	require.Empty(t, cert.Spec.CommonName, "one over 64 characters is refused")
	require.Equal(t, "cert-manager.io", cert.Spec.IssuerRef.Group)

	gone := v1alpha1.SidecarCertParams{Name: "archive-0-sidecar-tls", ChainID: "arctic-1"}
	require.Equal(t, gone, resources.SidecarCertParamsFor(node(), nil, platform()))
	require.Equal(t, gone, resources.SidecarCertParamsFor(node(), secret("mine"), platform()))
}

// The longest names that the API admits must still make valid objects.
func TestLongestName(t *testing.T) {
	long := node()
	long.Name = "n123456789012345678901234567890123456789012345678901"
	require.Len(t, long.Name, 52)
	require.LessOrEqual(t, len(resources.PodName(long.Name)), 63)
	require.LessOrEqual(t, len(long.Name)+len("-1234567890"), 63, "the revision label")
}

func TestTemplateTakesSpecBeforeSettings(t *testing.T) {
	n := node()
	limits := &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}
	n.Spec.Sidecar = &v1alpha1.SidecarConfig{Image: "example.test/own:v9", Port: 7070, Resources: limits, TLS: issuer("in-the-spec")}
	got := resources.NodeTemplateFor(n, target(nil), platform())
	require.Equal(t, "example.test/own:v9", got.SidecarImage)
	require.Equal(t, int32(7070), got.SidecarPort)
	require.Equal(t, limits, got.SidecarResources)
	require.Nil(t, got.TLS, "the target decides, the spec is a wish")
	require.Equal(t, int32(7070), resources.ServiceParamsFor(n, target(nil)).SidecarPort)

	got = resources.NodeTemplateFor(node(), target(nil), platform())
	require.Equal(t, "example.test/sei-sidecar:v1", got.SidecarImage)
	require.Equal(t, int32(7777), got.SidecarPort)
	require.Equal(t, int64(300), got.TerminationGracePeriodSeconds)
}

// Params are frozen: a later change of the node or of the settings must not reach them.
func TestParamsShareNothing(t *testing.T) {
	n, s := node(), platform()
	got := resources.NodeTemplateFor(n, target(nil), s)
	want := *got.DeepCopy()
	config := resources.ConfigApplyParamsFor(n)
	wantConfig := *config.DeepCopy()
	n.Spec.PodLabels["team"] = "other"
	n.Spec.Overrides["p2p.max_num_inbound_peers"] = "1"
	n.Spec.Peers[0].Static.Addresses[0] = "changed"
	s.Resources[v1alpha1.ModeArchive].Requests[corev1.ResourceCPU] = resource.MustParse("1")
	require.Equal(t, want, got)
	require.Equal(t, wantConfig, config)
}

func TestConfigHash(t *testing.T) {
	hash := func(change func(*v1alpha1.SeiNode)) string {
		n := node()
		change(n)
		return resources.ConfigApplyParamsFor(n).Hash
	}
	same := hash(func(*v1alpha1.SeiNode) {})
	require.Len(t, same, 64)
	require.Equal(t, same, hash(func(n *v1alpha1.SeiNode) { n.Spec.Image = "other" }))
	require.NotEqual(t, same, hash(func(n *v1alpha1.SeiNode) { n.Spec.Overrides["x"] = "y" }))
	require.NotEqual(t, same, hash(func(n *v1alpha1.SeiNode) { n.Spec.Peers = nil }))
	none := hash(func(n *v1alpha1.SeiNode) { n.Spec.Overrides, n.Spec.Peers = nil, nil })
	require.Equal(t, none, hash(func(n *v1alpha1.SeiNode) {
		n.Spec.Overrides, n.Spec.Peers = map[string]string{}, []v1alpha1.PeerSource{}
	}), "empty is none")
}

func TestCheckImages(t *testing.T) {
	require.NoError(t, resources.CheckImages(node(), target(issuer("x")), platform()))
	err := resources.CheckImages(node(), target(nil), settings.Default())
	require.ErrorContains(t, err, "spec.sidecar.image")
	require.ErrorContains(t, err, "ConfigMap sei-system/seictl-config")

	s := platform()
	s.ProxyImage = ""
	require.NoError(t, resources.CheckImages(node(), target(nil), s), "no TLS, no proxy")
	require.ErrorContains(t, resources.CheckImages(node(), target(issuer("x")), s), "proxyImage")

	own := node()
	own.Spec.Sidecar = &v1alpha1.SidecarConfig{Image: "example.test/own:v1"}
	require.NoError(t, resources.CheckImages(own, target(nil), settings.Default()))
}

func TestSidecarPortOf(t *testing.T) {
	require.Equal(t, int32(7777), resources.SidecarPortOf(&corev1.PodSpec{}))
	pod := &corev1.PodSpec{InitContainers: []corev1.Container{{
		Name: resources.ContainerSidecar, Env: []corev1.EnvVar{{Name: resources.EnvSidecarPort, Value: "nonsense"}},
	}}}
	require.Equal(t, int32(7777), resources.SidecarPortOf(pod))
	pod.InitContainers[0].Env[0].Value = "7070"
	require.Equal(t, int32(7070), resources.SidecarPortOf(pod))
}
