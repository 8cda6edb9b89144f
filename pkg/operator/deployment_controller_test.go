package operator

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sei.io/seictl/api/v1alpha1"
)

var sndKey = types.NamespacedName{Namespace: "fleet", Name: "ax"}

func testSND(replicas int32) *v1alpha1.SeiNodeDeployment {
	return &v1alpha1.SeiNodeDeployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: sndKey.Namespace, Name: sndKey.Name, UID: "snd", Generation: 1},
		Spec: v1alpha1.SeiNodeDeploymentSpec{
			Replicas: replicas,
			Template: v1alpha1.SeiNodeTemplate{Spec: v1alpha1.SeiNodeSpec{
				ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{},
			}},
		},
	}
}

// sndCluster is an API server with a SeiNodeDeployment, and its reconciler; writes counts what was written.
type sndCluster struct {
	client.Client
	r      *DeploymentReconciler
	events *events.FakeRecorder
	writes []string
	// fail makes the next update fail.
	fail error
}

func newSNDCluster(t *testing.T, objects ...client.Object) *sndCluster {
	t.Helper()
	scheme, err := NewScheme()
	require.NoError(t, err)
	c := &sndCluster{events: events.NewFakeRecorder(100)}
	c.Client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.SeiNode{}, &v1alpha1.SeiNodeDeployment{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				c.writes = append(c.writes, "create "+o.GetName())
				o.SetUID(types.UID("uid-" + o.GetName()))
				return w.Create(ctx, o, opts...)
			},
			Update: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				c.writes = append(c.writes, "update "+o.GetName())
				if err := c.fail; err != nil {
					c.fail = nil
					return err
				}
				return w.Update(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				c.writes = append(c.writes, "delete "+o.GetName())
				return w.Delete(ctx, o, opts...)
			},
			SubResourcePatch: func(ctx context.Context, w client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
				c.writes = append(c.writes, sub+" "+o.GetName())
				return w.SubResource(sub).Patch(ctx, o, p, opts...)
			},
		}).Build()
	c.r = &DeploymentReconciler{Client: c.Client, Recorder: c.events, Now: func() time.Time { return time.Unix(1e9, 0) }}
	return c
}

// reconcile returns what was written.
func (c *sndCluster) reconcile(t *testing.T) (written []string, result ctrl.Result) {
	t.Helper()
	c.writes = nil
	result, err := c.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: sndKey})
	require.NoError(t, err)
	return c.writes, result
}

// settle makes a child one that runs its spec and is Ready.
func (c *sndCluster) settle(t *testing.T, name string) {
	t.Helper()
	var n v1alpha1.SeiNode
	require.NoError(t, c.Get(t.Context(), types.NamespacedName{Namespace: sndKey.Namespace, Name: name}, &n))
	first := metav1.NewTime(time.Unix(1e9, 0))
	n.Status = v1alpha1.SeiNodeStatus{
		ObservedGeneration: n.Generation, Phase: v1alpha1.PhaseRunning, CurrentImage: n.Spec.Image, FirstReadyAt: &first,
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, ObservedGeneration: n.Generation,
			LastTransitionTime: first,
		}},
	}
	require.NoError(t, c.Status().Update(t.Context(), &n))
}

func (c *sndCluster) editTemplate(t *testing.T, edit func(*v1alpha1.SeiNodeDeployment)) {
	t.Helper()
	var snd v1alpha1.SeiNodeDeployment
	require.NoError(t, c.Get(t.Context(), sndKey, &snd))
	edit(&snd)
	snd.Generation++
	require.NoError(t, c.Update(t.Context(), &snd))
}

func TestSNDReconcilesOneStatusPatch(t *testing.T) {
	t.Parallel()
	c := newSNDCluster(t, testSND(2))
	written, _ := c.reconcile(t)
	require.Equal(t, []string{"create ax-0", "create ax-1", "status ax"}, written)
	c.settle(t, "ax-0")
	c.settle(t, "ax-1")
	written, _ = c.reconcile(t)
	require.Equal(t, []string{"status ax"}, written)
	var snd v1alpha1.SeiNodeDeployment
	require.NoError(t, c.Get(t.Context(), sndKey, &snd))
	require.Equal(t, v1alpha1.DeploymentReady, snd.Status.Phase)

	written, _ = c.reconcile(t)
	require.Empty(t, written, "a settled deployment costs no write")

	c.editTemplate(t, func(d *v1alpha1.SeiNodeDeployment) { d.Spec.Template.Spec.Image = "seid:v2" })
	written, _ = c.reconcile(t)
	require.Equal(t, []string{"update ax-0", "status ax"}, written, "one child at a time")
}

// After a conflict nothing else is written: it was decided on the same stale view.
func TestSNDConflictEndsTheRound(t *testing.T) {
	t.Parallel()
	c := newSNDCluster(t, testSND(2))
	c.reconcile(t)
	// Never Ready: they get the template without waiting for each other.
	c.editTemplate(t, func(d *v1alpha1.SeiNodeDeployment) { d.Spec.Template.Spec.Image = "seid:v2" })
	c.fail = apierrors.NewConflict(schema.GroupResource{Resource: "seinodes"}, "ax-0", nil)
	written, result := c.reconcile(t)
	require.NotContains(t, written, "update ax-1")
	require.Equal(t, conflictDelay, result.RequeueAfter)
	written, _ = c.reconcile(t)
	require.Contains(t, written, "update ax-1")
}

// A cache that lags behind our own write must not make a second child busy.
func TestSNDRemembersItsOwnWrites(t *testing.T) {
	t.Parallel()
	c := newSNDCluster(t, testSND(2))
	c.reconcile(t)
	c.settle(t, "ax-0")
	c.settle(t, "ax-1")
	var old v1alpha1.SeiNode
	require.NoError(t, c.Get(t.Context(), types.NamespacedName{Namespace: "fleet", Name: "ax-0"}, &old))
	fresh := old.DeepCopy()
	fresh.Spec.Image = "seid:v2"
	require.NoError(t, c.Update(t.Context(), fresh))
	c.r.remember(fresh)
	require.Same(t, fresh, c.r.freshest(&old))
	newer := fresh.DeepCopy()
	require.NoError(t, c.Update(t.Context(), newer))
	require.Same(t, newer, c.r.freshest(newer), "whoever wrote after us is newer")
	require.NotContains(t, c.r.written, old.UID)
}

func TestByParent(t *testing.T) {
	t.Parallel()
	names := func(n *v1alpha1.SeiNode) (out []string) {
		for _, r := range byParent(t.Context(), n) {
			out = append(out, r.Name)
		}
		return out
	}
	owned := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Name: "ax-0", OwnerReferences: []metav1.OwnerReference{
		*metav1.NewControllerRef(testSND(1), v1alpha1.GroupVersion.WithKind("SeiNodeDeployment")),
	}}}
	require.Equal(t, []string{"ax"}, names(owned))
	require.Equal(t, []string{"syncer"}, names(&v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Name: "syncer-12"}}), "a name that is taken")
	require.Empty(t, names(&v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Name: "syncer"}}))
}
