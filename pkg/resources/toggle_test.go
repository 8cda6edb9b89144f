package resources_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func statefulSet(tls *v1alpha1.SidecarTLSConfig) *appsv1.StatefulSet {
	return resources.StatefulSet(resources.OwnerOf(node()), resources.NodeTemplateFor(node(), target(tls), platform()))
}

func initContainer(t *testing.T, s *appsv1.StatefulSet, name string) *corev1.Container {
	t.Helper()
	all := s.Spec.Template.Spec.InitContainers
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == name })
	require.GreaterOrEqual(t, i, 0, "no init container %s", name)
	return &all[i]
}

func initNames(s *appsv1.StatefulSet) []string {
	var names []string
	for _, c := range s.Spec.Template.Spec.InitContainers {
		names = append(names, c.Name)
	}
	return names
}

// Everything that TLS changes in the StatefulSet, and nothing else: undoing exactly these changes gives back the other.
func TestToggleChangesExactlyThis(t *testing.T) {
	off, on := statefulSet(nil), statefulSet(issuer("sei-ca"))
	require.Equal(t, []string{"seid-init", "sei-sidecar"}, initNames(off))
	require.Equal(t, []string{"seid-init", "sei-sidecar", "kube-rbac-proxy"}, initNames(on))

	pod := &on.Spec.Template.Spec
	require.Equal(t, []string{v1alpha1.AnnotationProxyConfigHash}, keys(on.Spec.Template.Annotations))
	on.Spec.Template.Annotations = nil

	pod.InitContainers = pod.InitContainers[:2]
	pod.Volumes = slices.DeleteFunc(pod.Volumes, func(v corev1.Volume) bool {
		return v.Name == resources.VolumeTLS || v.Name == resources.VolumeProxyConfig
	})
	sidecarOn, sidecarOff := initContainer(t, on, "sei-sidecar"), initContainer(t, off, "sei-sidecar")
	require.Equal(t, corev1.EnvVar{Name: "SEI_SIDECAR_AUTHN_MODE", Value: "trusted-header"}, sidecarOn.Env[len(sidecarOn.Env)-1])
	sidecarOn.Env = sidecarOn.Env[:len(sidecarOn.Env)-1]
	require.Nil(t, sidecarOn.LivenessProbe, "kubelet cannot reach loopback")
	require.Nil(t, sidecarOn.ReadinessProbe, "kubelet cannot reach loopback")
	sidecarOn.LivenessProbe, sidecarOn.ReadinessProbe = sidecarOff.LivenessProbe, sidecarOff.ReadinessProbe
	require.Empty(t, sidecarOn.Ports)
	sidecarOn.Ports = sidecarOff.Ports
	require.Equal(t, off, on)
}

func keys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestAnotherIssuerChangesNothing(t *testing.T) {
	other := &v1alpha1.SidecarTLSConfig{IssuerName: "other", IssuerKind: v1alpha1.IssuerKindIssuer}
	require.Equal(t, statefulSet(issuer("sei-ca")), statefulSet(other), "a certificate is no reason for a restart")
	n := node()
	require.Equal(t, resources.ServiceParamsFor(n, target(issuer("sei-ca"))), resources.ServiceParamsFor(n, target(other)))
}

func TestAnotherSecretChangesTheVolumeOnly(t *testing.T) {
	a, b := statefulSet(secret("mine")), statefulSet(secret("yours"))
	volume := func(s *appsv1.StatefulSet) *corev1.SecretVolumeSource {
		all := s.Spec.Template.Spec.Volumes
		i := slices.IndexFunc(all, func(v corev1.Volume) bool { return v.Name == resources.VolumeTLS })
		require.GreaterOrEqual(t, i, 0)
		return all[i].Secret
	}
	require.Equal(t, "mine", volume(a).SecretName)
	require.Equal(t, "yours", volume(b).SecretName)
	volume(b).SecretName = "mine"
	require.Equal(t, a, b)
}

func TestIssuedSecretIsMounted(t *testing.T) {
	all := statefulSet(issuer("sei-ca")).Spec.Template.Spec.Volumes
	i := slices.IndexFunc(all, func(v corev1.Volume) bool { return v.Name == resources.VolumeTLS })
	require.Equal(t, "archive-0-sidecar-tls", all[i].Secret.SecretName)
	require.Nil(t, all[i].Secret.Optional, "a pod without its certificate must not start: the proxy would make one up")
	require.Len(t, all[i].Secret.Items, 2, "ca.crt is none of the proxy's business")
}

func TestModeIsALabelOnly(t *testing.T) {
	archive := statefulSet(nil)
	n := node()
	n.Spec.Archive, n.Spec.Validator = nil, &v1alpha1.ValidatorSpec{}
	s := platform()
	s.Resources[v1alpha1.ModeValidator] = s.Resources[v1alpha1.ModeArchive]
	validator := resources.StatefulSet(resources.OwnerOf(n), resources.NodeTemplateFor(n, target(nil), s))
	require.Equal(t, "validator", validator.Spec.Template.Labels[v1alpha1.LabelRole])
	validator.Labels[v1alpha1.LabelRole], validator.Spec.Template.Labels[v1alpha1.LabelRole] = "archive", "archive"
	sidecar := initContainer(t, validator, "sei-sidecar")
	for i := range sidecar.Env {
		if sidecar.Env[i].Name == "SEI_NODE_MODE" {
			sidecar.Env[i].Value = "archive"
		}
	}
	require.Equal(t, archive, validator)
}

func TestPodLabelsNeverOverrideOurs(t *testing.T) {
	s := statefulSet(nil)
	require.Equal(t, map[string]string{
		"team": "infra", "sei.io/node": "archive-0", "sei.io/chain": "arctic-1", "sei.io/role": "archive",
	}, s.Spec.Template.Labels)
	require.Equal(t, map[string]string{"sei.io/node": "archive-0"}, s.Spec.Selector.MatchLabels)
	require.NotContains(t, s.Labels, "team", "they are labels of the pod")
}

func TestProxyArguments(t *testing.T) {
	n := node()
	n.Spec.Sidecar = &v1alpha1.SidecarConfig{Port: 7070}
	s := resources.StatefulSet(resources.OwnerOf(n), resources.NodeTemplateFor(n, target(issuer("x")), platform()))
	args := initContainer(t, s, "kube-rbac-proxy").Args
	require.Contains(t, args, "--upstream=http://127.0.0.1:7070/")
	require.Contains(t, args, "--auth-header-fields-enabled=true")
	require.Contains(t, args, "--auth-token-audiences=sei-sidecar")
	for _, arg := range args {
		require.False(t, strings.HasPrefix(arg, "--tls-reload-interval"), "deprecated")
	}
	require.Equal(t, int32(7070), resources.SidecarPortOf(&s.Spec.Template.Spec))
}

func TestRestrictedContainers(t *testing.T) {
	for name, tls := range map[string]*v1alpha1.SidecarTLSConfig{"off": nil, "on": issuer("x")} {
		t.Run(name, func(t *testing.T) {
			pod := statefulSet(tls).Spec.Template.Spec
			require.True(t, *pod.SecurityContext.RunAsNonRoot)
			require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, c.Name)
				require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, c.Name)
				if c.Name == resources.ContainerSidecar || c.Name == resources.ContainerProxy {
					require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, c.Name)
				}
			}
		})
	}
}

// Volumes and mounts have to agree, in both modes.
func TestEveryMountHasItsVolume(t *testing.T) {
	for name, tls := range map[string]*v1alpha1.SidecarTLSConfig{"off": nil, "on": secret("mine")} {
		t.Run(name, func(t *testing.T) {
			pod := statefulSet(tls).Spec.Template.Spec
			unused := map[string]bool{}
			for _, v := range pod.Volumes {
				unused[v.Name] = true
			}
			known := len(unused)
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				for _, m := range c.VolumeMounts {
					delete(unused, m.Name)
					require.True(t, slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }), m.Name)
				}
			}
			require.Empty(t, unused)
			require.Len(t, pod.Volumes, known, "no name twice")
		})
	}
}
