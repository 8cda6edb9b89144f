package tasks

import (
	"context"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

const (
	testNamespace = "chain"
	testImage     = "registry.example/seid:v2"
)

// now is the time in all tests.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testNode() *v1alpha1.SeiNode {
	return &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "alpha", UID: "node-uid", Generation: 1},
		Spec: v1alpha1.SeiNodeSpec{
			ChainID: "arctic-1", Image: testImage, FullNode: &v1alpha1.FullNodeSpec{},
		},
	}
}

func testScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(s))
	require.NoError(t, cmv1.AddToScheme(s))
	require.NoError(t, v1alpha1.AddToScheme(s))
	return s
}

func fakeClient(t *testing.T, funcs interceptor.Funcs, objs ...client.Object) client.Client {
	t.Helper()
	return fake.NewClientBuilder().WithScheme(testScheme(t)).WithReturnManagedFields().
		WithObjects(objs...).WithInterceptorFuncs(funcs).
		WithIndex(&corev1.Event{}, "involvedObject.uid", func(o client.Object) []string {
			return []string{string(o.(*corev1.Event).InvolvedObject.UID)}
		}).Build()
}

// newEnv is an Env whose cache and API server hold the objects.
func newEnv(t *testing.T, objs ...client.Object) *Env {
	t.Helper()
	return envOf(fakeClient(t, interceptor.Funcs{}, objs...))
}

func envOf(c client.Client) *Env {
	s := settings.Default()
	s.SidecarImage = "registry.example/sidecar:v1"
	return &Env{Client: c, Live: c, Settings: s, Now: func() time.Time { return now }}
}

// input is a run of one task in a plan that has tasks of the other types before it.
func input(task v1alpha1.TaskType, params v1alpha1.TaskParams, before ...v1alpha1.Task) Input {
	tasks := append(before, v1alpha1.Task{
		Type: task, ID: "6d5c1a86-4b7f-5a52-9c6d-6a6f5b1d2c3e", Status: v1alpha1.TaskRunning, Params: params,
		StartedAt: &metav1.MicroTime{Time: now},
	})
	plan := &v1alpha1.Plan{ID: "plan", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, Tasks: tasks}
	return Input{Node: testNode(), Plan: plan, Task: &plan.Tasks[len(tasks)-1]}
}

// applied is a task that was complete before, with the generation that it returned.
func applied(task v1alpha1.TaskType, generation int64) v1alpha1.Task {
	return v1alpha1.Task{Type: task, Status: v1alpha1.TaskComplete, Output: &v1alpha1.TaskOutput{Generation: generation}}
}

// target is what a node runs in tests.
func target(tls *v1alpha1.SidecarTLSConfig) v1alpha1.PlanTarget {
	return v1alpha1.PlanTarget{Image: testImage, SidecarTLS: tls}
}

var (
	issuerTLS = &v1alpha1.SidecarTLSConfig{IssuerName: "sei-ca", IssuerKind: v1alpha1.IssuerKindClusterIssuer}
	secretTLS = &v1alpha1.SidecarTLSConfig{SecretName: "provisioned"}
)

func templateFor(env *Env, tls *v1alpha1.SidecarTLSConfig) v1alpha1.NodeTemplate {
	return resources.NodeTemplateFor(testNode(), target(tls), env.Settings)
}

func statefulSetParams(env *Env, tls *v1alpha1.SidecarTLSConfig) v1alpha1.TaskParams {
	t := templateFor(env, tls)
	return v1alpha1.TaskParams{StatefulSet: &v1alpha1.StatefulSetParams{Template: &t}}
}

// ownedBy makes an owner reference of a controller.
func ownedBy(kind, name, uid string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: new(true)}}
}

// testStatefulSet is the node's StatefulSet at generation 2, seen by its controller, with update revision alpha-new.
func testStatefulSet(mutate ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: testNamespace, Name: "alpha", UID: "sts-uid", Generation: 2,
			OwnerReferences: []metav1.OwnerReference{resources.OwnerOf(testNode()).Reference()},
		},
		Spec: appsv1.StatefulSetSpec{Replicas: new(int32(1))},
		Status: appsv1.StatefulSetStatus{
			ObservedGeneration: 2, CurrentRevision: "alpha-old", UpdateRevision: "alpha-new",
		},
	}
	for _, m := range mutate {
		m(s)
	}
	return s
}

// testPod is the node's pod as rendered, of a revision, with every container running.
func testPod(env *Env, tls *v1alpha1.SidecarTLSConfig, revision string, mutate ...func(*corev1.Pod)) *corev1.Pod {
	template := resources.StatefulSet(resources.OwnerOf(testNode()), templateFor(env, tls)).Spec.Template
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: testNamespace, Name: "alpha-0", UID: "pod-uid",
			CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Labels:            map[string]string{v1alpha1.LabelNode: "alpha", appsv1.ControllerRevisionHashLabelKey: revision},
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(testStatefulSet(), appsv1.SchemeGroupVersion.WithKind("StatefulSet"))},
		},
		Spec: template.Spec,
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.7",
			ContainerStatuses: []corev1.ContainerStatus{running(resources.ContainerSeid)},
		},
	}
	for _, c := range template.Spec.InitContainers {
		p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, running(c.Name))
	}
	for _, m := range mutate {
		m(p)
	}
	return p
}

func running(name string) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: name, ContainerID: "containerd://" + name, ImageID: "sha256:" + name,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-time.Hour))}},
	}
}

// counting counts requests by verb.
func counting(counts map[string]int) interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			counts["get"]++
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			counts["list"]++
			return c.List(ctx, list, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			counts["apply"]++
			return c.Apply(ctx, obj, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			counts["delete"]++
			return c.Delete(ctx, obj, opts...)
		},
	}
}
