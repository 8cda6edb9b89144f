package drift

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func cpu(q string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
}

func load[T any](t *testing.T, name string) *T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	var v T
	require.NoError(t, json.Unmarshal(raw, &v))
	return &v
}

// The files named live are what a Kubernetes 1.36 API server returned for those named applied: with every default.
func TestDefaultsAreNoDifference(t *testing.T) {
	sts, liveSTS := load[appsv1.StatefulSet](t, "statefulset.applied"), load[appsv1.StatefulSet](t, "statefulset.live")
	require.NotEqual(t, sts.Spec.Template, liveSTS.Spec.Template, "the fixture has defaults")
	require.Empty(t, DiffFields(sts.Spec.Template, liveSTS.Spec.Template, ""))
	require.Empty(t, DiffFields(sts.Spec, liveSTS.Spec, "spec"))

	svc, liveSvc := load[corev1.Service](t, "service.applied"), load[corev1.Service](t, "service.live")
	require.Empty(t, DiffFields(svc.Spec, liveSvc.Spec, "spec"))

	cert, liveCert := load[cmv1.Certificate](t, "certificate.applied"), load[cmv1.Certificate](t, "certificate.live")
	require.Empty(t, DiffFields(cert.Spec, liveCert.Spec, "spec"))
}

func TestDiffFields(t *testing.T) {
	type template = corev1.PodTemplateSpec
	container := func(p *template, name string) *corev1.Container {
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				if list[i].Name == name {
					return &list[i]
				}
			}
		}
		panic("no container " + name)
	}
	for name, tc := range map[string]struct {
		change func(want, live *template)
		paths  []string
	}{
		"a label taken out": {func(_, live *template) { live.Labels["old"] = "x" }, []string{"metadata.labels.old"}},
		"a label added":     {func(want, _ *template) { want.Labels["new"] = "x" }, []string{"metadata.labels.new"}},
		"an annotation of somebody else": {func(_, live *template) {
			live.Annotations["kubectl.kubernetes.io/restartedAt"] = "x"
		}, nil},
		"an image": {func(want, _ *template) { container(want, "seid").Image = "seid:v9" },
			[]string{"spec.containers[seid].image"}},
		"changed requests": {func(want, _ *template) { container(want, "seid").Resources.Requests = cpu("2") },
			[]string{"spec.containers[seid].resources.requests.cpu", "spec.containers[seid].resources.requests.memory"}},
		"the same quantity in other words": {func(want, live *template) {
			container(want, "seid").Resources.Requests = cpu("1000m")
			container(live, "seid").Resources.Requests = cpu("1")
		}, nil},
		"resources taken out": {func(want, _ *template) { container(want, "seid").Resources = corev1.ResourceRequirements{} },
			[]string{"spec.containers[seid].resources.requests"}},
		"limits taken out": {func(_, live *template) { container(live, "seid").Resources.Limits = cpu("1") },
			[]string{"spec.containers[seid].resources.limits"}},
		"requests that the API server took from the limits": {func(want, live *template) {
			container(want, "seid").Resources.Limits = cpu("1")
			container(want, "seid").Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
			container(live, "seid").Resources.Limits = cpu("1")
			container(live, "seid").Resources.Requests = corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi"),
			}
		}, nil},
		"a container too many": {func(_, live *template) {
			live.Spec.Containers = append(live.Spec.Containers, corev1.Container{Name: "shell"})
		}, []string{"spec.containers[shell]"}},
		"a container too few": {func(_, live *template) { live.Spec.InitContainers = live.Spec.InitContainers[:2] },
			[]string{"spec.initContainers[kube-rbac-proxy]"}},
		"a variable changed": {func(_, live *template) { container(live, "sei-sidecar").Env[1].Value = "1" },
			[]string{"spec.initContainers[sei-sidecar].env[SEI_SIDECAR_PORT].value"}},
		"a variable too many": {func(_, live *template) {
			c := container(live, "sei-sidecar")
			c.Env = append(c.Env, corev1.EnvVar{Name: "DEBUG", Value: "1"})
		}, []string{"spec.initContainers[sei-sidecar].env[DEBUG]"}},
		"an argument changed": {func(_, live *template) { container(live, "kube-rbac-proxy").Args[0] = "--insecure" },
			[]string{"spec.initContainers[kube-rbac-proxy].args[0]"}},
		"an argument too many": {func(_, live *template) {
			c := container(live, "kube-rbac-proxy")
			c.Args = append(c.Args, "--v=10")
		}, []string{"spec.initContainers[kube-rbac-proxy].args"}},
		"one volume mounted twice": {func(want, live *template) {
			for _, p := range []*template{want, live} {
				c := container(p, "seid")
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: c.VolumeMounts[0].Name, MountPath: "/snapshots"})
			}
		}, nil},
		"one volume mounted twice, once elsewhere": {func(want, live *template) {
			for p, path := range map[*template]string{want: "/a", live: "/b"} {
				c := container(p, "seid")
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: c.VolumeMounts[0].Name, MountPath: path})
			}
		}, []string{"spec.containers[seid].volumeMounts[/a]", "spec.containers[seid].volumeMounts[/b]"}},
		"a probe": {func(want, _ *template) { container(want, "seid").ReadinessProbe.PeriodSeconds = 99 },
			[]string{"spec.containers[seid].readinessProbe.periodSeconds"}},
		"a probe that is gone": {func(_, live *template) { container(live, "seid").ReadinessProbe = nil },
			[]string{"spec.containers[seid].readinessProbe"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := load[appsv1.StatefulSet](t, "statefulset.applied").Spec.Template
			live := load[appsv1.StatefulSet](t, "statefulset.live").Spec.Template
			tc.change(&want, &live)
			require.Equal(t, tc.paths, DiffFields(want, live, ""))
		})
	}
	t.Run("string maps", func(t *testing.T) {
		require.Equal(t, []string{"data.a", "data.b", "data.c"},
			DiffFields(map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "x", "c": "3"}, "data"))
	})
}
