package engine

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/tasks"
)

var (
	t0  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key = client.ObjectKey{Namespace: "sei", Name: "n0"}
)

// world is an API server with one node, an engine, and a script for what tasks find.
type world struct {
	t      *testing.T
	client client.Client
	engine *Engine
	now    time.Time
	health int
	// script overrides what a task brings; without an entry it is done, with the effect it has on the StatefulSet and pod.
	script map[v1alpha1.TaskType]func(tasks.Input) (tasks.Result, error)
	ran    []v1alpha1.TaskType
	// requests counts calls by verb and kind, "patch status" being that of the node; fail makes them fail.
	requests map[string]int
	fail     map[string]error
	events   []string
	ended    []string
	settings settings.Settings
	// templates by revision, for the way back.
	templates map[string]corev1.PodTemplateSpec
}

func newWorld(t *testing.T, node *v1alpha1.SeiNode, objs ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, cmv1.AddToScheme} {
		require.NoError(t, add(scheme))
	}
	w := &world{
		t: t, now: t0, health: 200, script: map[v1alpha1.TaskType]func(tasks.Input) (tasks.Result, error){},
		requests: map[string]int{}, fail: map[string]error{}, settings: settings.Default(),
	}
	w.settings.SidecarImage = "sidecar:v1"
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.SeiNode{}).
		WithObjects(append(objs, node)...).WithInterceptorFuncs(w.intercept()).Build()
	w.engine = New(Options{
		Client: w.client, Live: w.live(), Settings: func() settings.Settings { return w.settings },
		Now: func() time.Time { return w.now }, Recorder: w, ServedCheckInterval: -1,
		OnPlanEnd: func(_ *v1alpha1.SeiNode, p *v1alpha1.Plan, outcome v1alpha1.PlanPhase) {
			w.ended = append(w.ended, string(p.Kind)+" "+string(outcome))
		},
	})
	w.engine.wire = wire{
		run: w.run,
		health: func(context.Context, *tasks.Env, *v1alpha1.SeiNode, *corev1.Pod) (int, error) {
			return w.health, w.fail["health"]
		},
		served: w.serve,
	}
	return w
}

func (w *world) Event(_ *v1alpha1.SeiNode, eventType, reason, message string) {
	w.events = append(w.events, eventType+" "+reason+" "+message)
}

func (w *world) count(what string) error {
	w.requests[what]++
	return w.fail[what]
}

func (w *world) intercept() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			what := "get " + kindOf(obj)
			if _, meta := obj.(*metav1.PartialObjectMetadata); meta {
				what = "get metadata"
			}
			if err := w.count(what); err != nil {
				return err
			}
			return c.Get(ctx, k, obj, o...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, p client.Patch, o ...client.PatchOption) error {
			if err := w.count("patch " + kindOf(obj)); err != nil {
				return err
			}
			return c.Patch(ctx, obj, p, o...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, p client.Patch, o ...client.SubResourcePatchOption) error {
			if err := w.count("patch " + sub); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, obj, p, o...)
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.UpdateOption) error {
			return c.Update(ctx, obj, o...)
		},
	}
}

func kindOf(obj client.Object) string {
	switch obj.(type) {
	case *v1alpha1.SeiNode:
		return "node"
	case *corev1.Secret:
		return "secret"
	case *appsv1.StatefulSet:
		return "statefulset"
	}
	return "object"
}

// live reads from the same store; its requests are counted as live ones.
func (w *world) live() client.Reader {
	return interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			if err := w.count("live " + kindOf(obj)); err != nil {
				return err
			}
			return c.Get(ctx, k, obj, o...)
		},
	})
}

// run is tasks.Run with scripted results.
func (w *world) run(ctx context.Context, _ *tasks.Env, in tasks.Input) (tasks.Result, error) {
	w.ran = append(w.ran, in.Task.Type)
	if f := w.script[in.Task.Type]; f != nil {
		return f(in)
	}
	owner, params := resources.OwnerOf(in.Node), in.Task.Params
	switch in.Task.Type {
	case v1alpha1.TaskApplySidecarCert:
		w.put(resources.Certificate(owner, *params.SidecarCert))
	case v1alpha1.TaskApplyRBACProxyConfig:
		w.put(resources.ProxyConfig(owner, *params.RBACProxyConfig))
	case v1alpha1.TaskApplyService:
		w.put(resources.Service(owner, *params.Service))
	case v1alpha1.TaskDeleteRBACProxyConfig:
		w.remove(resources.ProxyConfig(owner, *params.RBACProxyConfig))
	case v1alpha1.TaskDeleteSidecarCert:
		w.remove(resources.Certificate(owner, *params.SidecarCert))
	case v1alpha1.TaskApplyStatefulSet:
		w.apply(params.StatefulSet)
	case v1alpha1.TaskReplacePod:
		w.replace()
	case v1alpha1.TaskObserveSidecarTLS:
		return tasks.Completed(w.observe(in.Task.Params.ObserveSidecarTLS.TLSSecret)), nil
	case v1alpha1.TaskMarkReady:
		return tasks.Completed(&v1alpha1.TaskOutput{Accepted: true}), nil
	}
	return tasks.Completed(nil), ctx.Err()
}

// serve says that the proxy serves what the Secret holds, unless told otherwise.
func (w *world) serve(_ context.Context, _ *tasks.Env, _ *v1alpha1.SeiNode, _ *corev1.Pod, v *certs.Verdict) (*x509.Certificate, error) {
	return v.Leaf, w.count("handshake")
}

// observe sees the leaf in the Secret served, where there is one.
func (w *world) observe(p *v1alpha1.TLSSecretParams) *v1alpha1.TaskOutput {
	var s corev1.Secret
	if p == nil || w.client.Get(w.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: p.SecretName}, &s) != nil {
		return nil
	}
	at := metav1.NewTime(leaf(w.t, &s).NotAfter)
	return &v1alpha1.TaskOutput{FingerprintSHA256: fingerprint(w.t, &s), NotAfter: &at}
}

// put replaces an object, and remove deletes it.
func (w *world) put(obj client.Object) {
	w.remove(obj)
	require.NoError(w.t, w.client.Create(w.t.Context(), obj))
}

func (w *world) remove(obj client.Object) {
	require.NoError(w.t, client.IgnoreNotFound(w.client.Delete(w.t.Context(), obj)))
}

// store writes an object and its status, given twice.
func (w *world) store(obj, status client.Object) {
	require.NoError(w.t, w.client.Update(w.t.Context(), obj))
	status.SetResourceVersion(obj.GetResourceVersion())
	require.NoError(w.t, w.client.Status().Update(w.t.Context(), status))
}

// apply changes the live template: to another revision, or back to one.
func (w *world) apply(p *v1alpha1.StatefulSetParams) {
	var sts appsv1.StatefulSet
	require.NoError(w.t, w.client.Get(w.t.Context(), key, &sts))
	if w.templates == nil {
		w.templates = map[string]corev1.PodTemplateSpec{}
	}
	w.templates[sts.Status.UpdateRevision] = sts.Spec.Template
	if p.FromRevision != "" {
		sts.Status.UpdateRevision = p.FromRevision
		sts.Spec.Template = w.templates[p.FromRevision]
	} else {
		sts.Status.UpdateRevision += "+"
		sts.Spec.Template = resources.StatefulSet(resources.Owner{Namespace: key.Namespace, Name: key.Name}, *p.Template).Spec.Template
	}
	w.store(&sts, sts.DeepCopy())
}

// replace puts the pod on the live template.
func (w *world) replace() {
	var sts appsv1.StatefulSet
	require.NoError(w.t, w.client.Get(w.t.Context(), key, &sts))
	w.pod(func(p *corev1.Pod) {
		p.Labels[appsv1.StatefulSetRevisionLabel] = sts.Status.UpdateRevision
		p.Spec = sts.Spec.Template.Spec
	})
}

func (w *world) pod(change func(*corev1.Pod)) {
	var pod corev1.Pod
	require.NoError(w.t, w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "sei", Name: "n0-0"}, &pod))
	change(&pod)
	w.store(&pod, pod.DeepCopy())
}

func (w *world) node() *v1alpha1.SeiNode {
	var n v1alpha1.SeiNode
	require.NoError(w.t, w.client.Get(w.t.Context(), key, &n))
	return &n
}

// edit changes spec or metadata, as a user does.
func (w *world) edit(change func(*v1alpha1.SeiNode)) {
	n := w.node()
	change(n)
	n.Generation++
	require.NoError(w.t, w.client.Update(w.t.Context(), n))
}

func (w *world) pass() Outcome {
	w.t.Helper()
	out, err := w.engine.Pass(w.t.Context(), w.node())
	require.NoError(w.t, err)
	return out
}

// settle runs passes, as far as the outcomes ask for another one at once or within two seconds.
func (w *world) settle() Outcome {
	w.t.Helper()
	for range 40 {
		before := w.requests["patch status"]
		out := w.pass()
		require.LessOrEqual(w.t, w.requests["patch status"]-before, 1, "at most one status patch a pass")
		switch {
		case out.RequeueAfter == Immediately:
			require.False(w.t, out.Settled, "what asks for another pass is not settled")
		case out.RequeueAfter > 0 && out.RequeueAfter <= progressDelay:
			w.now = w.now.Add(out.RequeueAfter)
		default:
			return out
		}
	}
	w.t.Fatal("it does not settle: ", w.ran, w.ended, w.node().Status)
	return Outcome{}
}
