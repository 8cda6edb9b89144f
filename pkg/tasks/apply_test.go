package tasks

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func TestEveryTaskTypeIsRegistered(t *testing.T) {
	for _, typ := range []v1alpha1.TaskType{
		v1alpha1.TaskEnsureDataPVC, v1alpha1.TaskApplySidecarCert, v1alpha1.TaskWaitForSidecarTLSSecret,
		v1alpha1.TaskApplyRBACProxyConfig, v1alpha1.TaskApplyStatefulSet, v1alpha1.TaskApplyService,
		v1alpha1.TaskReplacePod, v1alpha1.TaskObserveImage, v1alpha1.TaskObserveSidecarTLS, v1alpha1.TaskConfigApply,
		v1alpha1.TaskConfigValidate, v1alpha1.TaskMarkReady, v1alpha1.TaskDeleteRBACProxyConfig, v1alpha1.TaskDeleteSidecarCert,
	} {
		require.True(t, Registered(typ), typ)
	}
	require.Len(t, registry, 14)
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	_, err := Run(t.Context(), newEnv(t), input("dance", v1alpha1.TaskParams{}))
	require.True(t, IsTerminal(err))
	_, err = Run(t.Context(), newEnv(t), input(v1alpha1.TaskMarkReady, v1alpha1.TaskParams{}))
	require.True(t, IsTerminal(err))
	require.ErrorContains(t, err, "has no params")
}

func TestApplyCreatesWhatIsAbsent(t *testing.T) {
	env := newEnv(t)
	in := input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, issuerTLS))
	r, err := Run(t.Context(), env, in)
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase)

	got := &appsv1.StatefulSet{}
	require.NoError(t, env.Live.Get(t.Context(), client.ObjectKeyFromObject(in.Node), got))
	require.True(t, metav1.IsControlledBy(got, in.Node))
	want := resources.StatefulSet(resources.OwnerOf(in.Node), templateFor(env, issuerTLS))
	require.Equal(t, want.Spec, got.Spec)
	require.Len(t, got.ManagedFields, 1)
	require.Equal(t, FieldManager, got.ManagedFields[0].Manager)

	u, err := applyConfiguration(want)
	require.NoError(t, err)
	require.NotContains(t, u.Object, "status")
	require.NotContains(t, u.Object["metadata"], "creationTimestamp")
}

func TestApplyOtherObjects(t *testing.T) {
	env, node := newEnv(t), testNode()
	cert := resources.SidecarCertParamsFor(node, issuerTLS, env.Settings)
	config := resources.RBACProxyConfigParamsFor(node)
	service := resources.ServiceParamsFor(node, target(issuerTLS))
	for typ, params := range map[v1alpha1.TaskType]v1alpha1.TaskParams{
		v1alpha1.TaskApplySidecarCert:     {SidecarCert: &cert},
		v1alpha1.TaskApplyRBACProxyConfig: {RBACProxyConfig: &config},
		v1alpha1.TaskApplyService:         {Service: &service},
	} {
		for range 2 { // safe to run twice
			r, err := Run(t.Context(), env, input(typ, params))
			require.NoError(t, err, typ)
			require.Equal(t, Done, r.Phase, typ)
		}
	}
}

func TestApplyStatefulSetRefusesOneThatWasScaled(t *testing.T) {
	for name, replicas := range map[string]int32{"stopped on purpose": 0, "two": 2} {
		t.Run(name, func(t *testing.T) {
			sts := testStatefulSet()
			sts.Spec.Replicas = &replicas
			counts := map[string]int{}
			live := fakeClient(t, counting(counts), sts)
			env := envOf(live)
			_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
			require.True(t, IsTerminal(err))
			require.ErrorContains(t, err, fmt.Sprintf("was scaled to %d replicas", replicas))
			require.Zero(t, counts["apply"], "nothing is written")
		})
	}
}

func TestApplyToAnObjectOfOursIsOneRequest(t *testing.T) {
	counts := map[string]int{}
	live := fakeClient(t, counting(counts), testStatefulSet())
	env := envOf(live)
	env.Client = fakeClient(t, interceptor.Funcs{Apply: func(ctx context.Context, _ client.WithWatch,
		obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
		return live.Apply(ctx, obj, opts...)
	}}, testStatefulSet())
	_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"apply": 1, "get": 1}, counts, "whether it was scaled is read live")
}

func TestApplyLeavesForeignObjectsAlone(t *testing.T) {
	for name, c := range map[string]struct {
		owners   []metav1.OwnerReference
		terminal string
		wait     string
	}{
		"no owner":        {nil, "StatefulSet chain/alpha exists and is not this node's (it has no owner)", ""},
		"another kind":    {ownedBy("Deployment", "web", "u"), "its controller is Deployment web", ""},
		"another SeiNode": {ownedBy("SeiNode", "beta", "u"), "its controller is SeiNode beta", ""},
		"plain owner":     {[]metav1.OwnerReference{{Kind: "Job", Name: "j", UID: "u"}}, "its owner is Job j", ""},
		"former self":     {ownedBy("SeiNode", "alpha", "u"), "", "belongs to a SeiNode of this name that was deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, testStatefulSet(func(s *appsv1.StatefulSet) { s.OwnerReferences = c.owners }))
			r, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
			if c.terminal != "" {
				require.True(t, IsTerminal(err))
				require.ErrorContains(t, err, c.terminal)
			} else {
				require.NoError(t, err)
				require.Equal(t, Waiting, r.Phase)
				require.Contains(t, r.Message, c.wait)
			}
			got := &appsv1.StatefulSet{}
			require.NoError(t, env.Live.Get(t.Context(), client.ObjectKeyFromObject(testNode()), got))
			require.Empty(t, got.Spec.Template.Spec.Containers, "it was not written")
		})
	}
}

func TestApplyWaitsForAnObjectBeingDeleted(t *testing.T) {
	env := newEnv(t, testStatefulSet(func(s *appsv1.StatefulSet) {
		s.DeletionTimestamp, s.Finalizers = &metav1.Time{Time: now}, []string{"x/y"}
	}))
	r, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
	require.NoError(t, err)
	require.Equal(t, "StatefulSet chain/alpha is being deleted", r.Message)
}

// applyAs applies a piece of a StatefulSet as another manager.
func applyAs(t *testing.T, c client.Client, manager string, spec map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "StatefulSet",
		"metadata": map[string]any{"namespace": testNamespace, "name": "alpha"},
		"spec":     map[string]any{"template": map[string]any{"spec": spec}},
	}}
	require.NoError(t, c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager)))
}

func containerWith(name string, field string, value any) map[string]any {
	return map[string]any{"containers": []any{map[string]any{"name": name, field: value}}}
}

func TestApplyReadsBackWhatOthersOwn(t *testing.T) {
	for name, c := range map[string]struct {
		spec map[string]any
		want string
	}{
		"env in seid": {containerWith("seid", "env", []any{map[string]any{"name": "DEBUG", "value": "1"}}),
			`.spec.template.spec.containers[name="seid"].env[name="DEBUG"]`},
		"preStop in seid": {containerWith("seid", "lifecycle", map[string]any{"preStop": map[string]any{"sleep": map[string]any{"seconds": int64(5)}}}),
			`lifecycle.preStop.sleep.seconds`},
		"volume of ours": {map[string]any{"volumes": []any{map[string]any{"name": "sidecar-tmp", "emptyDir": map[string]any{"medium": "Memory"}}}},
			`.spec.template.spec.volumes[name="sidecar-tmp"].emptyDir.medium`},
		"a default":              {containerWith("seid", "terminationMessagePath", "/dev/termination-log"), ""},
		"same value":             {containerWith("seid", "image", testImage), ""},
		"a container of its own": {containerWith("agent", "image", "x"), ""},
		"beside the lists":       {map[string]any{"priorityClassName": "high"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, testStatefulSet())
			applyAs(t, env.Client, "vpa", c.spec)
			_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, IsTerminal(err), "%v", err)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, `manager "vpa"`)
		})
	}
}

func TestApplyFindsAProxyThatSomebodyKeeps(t *testing.T) {
	env := newEnv(t, testStatefulSet())
	applyAs(t, env.Client, "kubectl", map[string]any{"initContainers": []any{map[string]any{
		"name": "kube-rbac-proxy", "image": env.Settings.ProxyImage,
	}}})
	_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, issuerTLS)))
	require.NoError(t, err, "as long as we render the same, nothing is foreign")
	_, err = Run(t.Context(), env, input(v1alpha1.TaskApplyStatefulSet, statefulSetParams(env, nil)))
	require.True(t, IsTerminal(err), "%v", err)
	require.ErrorContains(t, err, `initContainers[name="kube-rbac-proxy"]`)
	require.ErrorContains(t, err, `manager "kubectl"`)
}

func TestApplyIgnoresStatusAndTheControllerManager(t *testing.T) {
	raw := []byte(`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"seid\"}":{"f:tty":{}}}}}}}`)
	u := &unstructured.Unstructured{Object: map[string]any{"kind": "StatefulSet", "spec": map[string]any{"template": map[string]any{
		"spec": map[string]any{"containers": []any{map[string]any{"name": "seid", "tty": true}}}}}}}
	entry := metav1.ManagedFieldsEntry{Manager: "x", Operation: "Update", FieldsV1: metav1.NewFieldsV1(string(raw))}
	u.SetManagedFields([]metav1.ManagedFieldsEntry{entry})
	f, err := foreignField(u)
	require.NoError(t, err)
	require.Equal(t, &fieldOf{path: `.spec.template.spec.containers[name="seid"].tty`, manager: "x"}, f)

	for name, mutate := range map[string]func(*metav1.ManagedFieldsEntry){
		"status":             func(e *metav1.ManagedFieldsEntry) { e.Subresource = "status" },
		"controller manager": func(e *metav1.ManagedFieldsEntry) { e.Manager = "kube-controller-manager" },
		"no fields":          func(e *metav1.ManagedFieldsEntry) { e.FieldsV1 = nil },
	} {
		e := entry
		mutate(&e)
		u.SetManagedFields([]metav1.ManagedFieldsEntry{e})
		f, err := foreignField(u)
		require.NoError(t, err)
		require.Nil(t, f, name)
	}
}

func TestApplyWithoutCertManager(t *testing.T) {
	missing := &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "cert-manager.io", Kind: "Certificate"}}
	env := envOf(fakeClient(t, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return missing
		},
	}))
	p := resources.SidecarCertParamsFor(testNode(), issuerTLS, env.Settings)
	_, err := Run(t.Context(), env, input(v1alpha1.TaskApplySidecarCert, v1alpha1.TaskParams{SidecarCert: &p}))
	require.True(t, IsTerminal(err))
	require.ErrorContains(t, err, "cert-manager is not installed")
	require.ErrorContains(t, err, "seictl node retry alpha -n chain")
}

func TestPruneKeepsWhatEmptyMeans(t *testing.T) {
	v := map[string]any{
		"a": nil, "resources": map[string]any{}, "emptyDir": map[string]any{},
		"list": []any{map[string]any{"resources": map[string]any{"limits": nil}, "b": nil}},
	}
	prune(v, true)
	require.Equal(t, map[string]any{"emptyDir": map[string]any{}, "list": []any{map[string]any{}}}, v)
}

func TestServicePortsOfOthersAreFound(t *testing.T) {
	env := newEnv(t)
	p := resources.ServiceParamsFor(testNode(), target(nil))
	params := v1alpha1.TaskParams{Service: &p}
	_, err := Run(t.Context(), env, input(v1alpha1.TaskApplyService, params))
	require.NoError(t, err)
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"namespace": testNamespace, "name": "alpha"},
		"spec": map[string]any{"ports": []any{map[string]any{"name": "sidecar-tls", "port": int64(8443), "protocol": "TCP"}}},
	}}
	require.NoError(t, env.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("argocd")))
	_, err = Run(t.Context(), env, input(v1alpha1.TaskApplyService, params))
	require.True(t, IsTerminal(err), "%v", err)
	require.ErrorContains(t, err, "argocd")
}
