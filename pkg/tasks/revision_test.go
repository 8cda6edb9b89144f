package tasks

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// revisionOf stores a template as the StatefulSet controller does.
func revisionOf(t *testing.T, sts *appsv1.StatefulSet, name string, template corev1.PodTemplateSpec) *appsv1.ControllerRevision {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&template)
	require.NoError(t, err)
	content["$patch"] = "replace"
	content["metadata"].(map[string]any)["creationTimestamp"] = nil
	raw, err := json.Marshal(map[string]any{"spec": map[string]any{"template": content}})
	require.NoError(t, err)
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: testNamespace, Name: name,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(sts, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))},
		},
		Data: runtime.RawExtension{Raw: raw},
	}
}

// withDefaults is what the API server makes of a template, as far as it matters here.
func withDefaults(template corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	d := *template.DeepCopy()
	d.Spec.RestartPolicy, d.Spec.DNSPolicy, d.Spec.SchedulerName = "Always", "ClusterFirst", "default-scheduler"
	for i := range d.Spec.Containers {
		d.Spec.Containers[i].TerminationMessagePath = "/dev/termination-log"
		d.Spec.Containers[i].ImagePullPolicy = "IfNotPresent"
	}
	return d
}

func readStatefulSet(t *testing.T, env *Env) *appsv1.StatefulSet {
	t.Helper()
	sts := &appsv1.StatefulSet{}
	require.NoError(t, env.Live.Get(t.Context(), client.ObjectKeyFromObject(testNode()), sts))
	return sts
}

func fromRevision(name string) Input {
	return input(v1alpha1.TaskApplyStatefulSet,
		v1alpha1.TaskParams{StatefulSet: &v1alpha1.StatefulSetParams{FromRevision: name}})
}

func TestApplyRevisionRestoresTheTemplate(t *testing.T) {
	for name, c := range map[string]struct{ before, after *v1alpha1.SidecarTLSConfig }{
		"off, issuer, off":    {nil, issuerTLS},
		"issuer, off, issuer": {issuerTLS, nil},
		"secret to issuer":    {secretTLS, issuerTLS},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t)
			_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, c.before)))
			require.NoError(t, err)
			old := readStatefulSet(t, env)
			want := withDefaults(old.Spec.Template)
			require.NoError(t, env.Client.Create(t.Context(), revisionOf(t, old, "alpha-old", want)))
			_, err = Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, c.after)))
			require.NoError(t, err)

			for range 2 { // safe to run twice
				r, err := Run(t.Context(), env, fromRevision("alpha-old"))
				require.NoError(t, err)
				require.Equal(t, Done, r.Phase)
			}
			got := readStatefulSet(t, env)
			require.Equal(t, want, got.Spec.Template)
			got.Spec.Template = old.Spec.Template
			require.Equal(t, old.Spec, got.Spec, "nothing else of the spec changed")
			require.Equal(t, old.Labels, got.Labels)
			require.Equal(t, old.OwnerReferences, got.OwnerReferences)

			// The next rendered template takes over without a trace of the revision.
			_, err = Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, c.after)))
			require.NoError(t, err)
			require.Empty(t, readStatefulSet(t, env).Spec.Template.Spec.SchedulerName)
		})
	}
}

func TestApplyRevisionLeavesLabelsOfOthers(t *testing.T) {
	env := newEnv(t)
	_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
	require.NoError(t, err)
	sts := readStatefulSet(t, env)
	require.NoError(t, env.Client.Create(t.Context(), revisionOf(t, sts, "alpha-old", sts.Spec.Template)))
	patched := sts.DeepCopy()
	patched.Labels["team"] = "core"
	require.NoError(t, env.Client.Patch(t.Context(), patched, client.MergeFrom(sts), client.FieldOwner("kubectl")))

	_, err = Run(t.Context(), env, fromRevision("alpha-old"))
	require.NoError(t, err)
	got := readStatefulSet(t, env)
	require.Equal(t, "core", got.Labels["team"])
	for _, m := range got.ManagedFields {
		if m.Manager == FieldManager {
			require.NotContains(t, m.FieldsV1.GetRawString(), "f:team", "it is not ours to claim")
		}
	}
}

func TestApplyRevisionThatCannotBe(t *testing.T) {
	sts := testStatefulSet()
	foreign := revisionOf(t, sts, "beta-1", corev1.PodTemplateSpec{})
	foreign.OwnerReferences[0].UID, foreign.OwnerReferences[0].Name = "other", "beta"
	empty := revisionOf(t, sts, "alpha-empty", corev1.PodTemplateSpec{})
	empty.Data.Raw = []byte(`{}`)
	for name, c := range map[string]struct {
		objs     []client.Object
		revision string
		want     string
	}{
		"revision gone":          {[]client.Object{sts}, "alpha-old", "ControllerRevision chain/alpha-old is gone"},
		"StatefulSet gone":       {nil, "alpha-old", "StatefulSet chain/alpha is gone"},
		"of another StatefulSet": {[]client.Object{sts, foreign}, "beta-1", "its controller is StatefulSet beta"},
		"without a template":     {[]client.Object{sts, empty}, "alpha-empty", "holds no pod template"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(t.Context(), newEnv(t, c.objs...), fromRevision(c.revision))
			require.True(t, IsTerminal(err), "%v", err)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestApplyRevisionPutsOneReplicaBack(t *testing.T) {
	env := newEnv(t)
	_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
	require.NoError(t, err)
	sts := readStatefulSet(t, env)
	require.NoError(t, env.Client.Create(t.Context(), revisionOf(t, sts, "alpha-old", sts.Spec.Template)))
	scaled := sts.DeepCopy()
	scaled.Spec.Replicas = new(int32(2))
	require.NoError(t, env.Client.Patch(t.Context(), scaled, client.MergeFrom(sts), client.FieldOwner("kubectl")))

	_, err = Run(t.Context(), env, fromRevision("alpha-old"))
	require.NoError(t, err)
	require.Equal(t, int32(1), *readStatefulSet(t, env).Spec.Replicas)
}
