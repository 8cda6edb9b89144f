package tasks

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func replaceInput(env *Env, tls *v1alpha1.SidecarTLSConfig, generation int64) Input {
	p := &v1alpha1.ReplacePodParams{}
	if tls != nil {
		secret := resources.TLSSecretParamsFor(testNode(), tls, env.Settings)
		p.TLSSecret = &secret
	}
	return input(v1alpha1.TaskReplacePod, v1alpha1.TaskParams{ReplacePod: p},
		applied(v1alpha1.TaskApplyStatefulSet, generation))
}

func deletingSince(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.DeletionTimestamp = &metav1.Time{Time: now.Add(300*time.Second - d)} // the API server adds the grace period
		p.DeletionGracePeriodSeconds = new(int64(300))
		p.Finalizers = []string{"example.com/hold"}
		p.Spec.NodeName = "machine-1"
	}
}

func TestReplacePod(t *testing.T) {
	for name, c := range map[string]struct {
		sts        func(*appsv1.StatefulSet)
		noSTS      bool
		pod        string // revision; empty for none
		mutate     func(*corev1.Pod)
		generation int64
		tls        *v1alpha1.SidecarTLSConfig

		done     bool
		deleted  bool
		message  string
		terminal string
		requeue  time.Duration
	}{
		"no pod":  {message: "waiting for the StatefulSet controller to create pod chain/alpha-0", requeue: successorPoll},
		"new pod": {pod: "alpha-new", done: true},
		"old pod": {pod: "alpha-old", deleted: true, message: "pod chain/alpha-0 is being replaced"},
		"old pod although current and update revision are equal": {
			sts: func(s *appsv1.StatefulSet) { s.Status.CurrentRevision = "alpha-new" }, pod: "alpha-old", deleted: true,
			message: "pod chain/alpha-0 is being replaced"},
		"terminating pod of the old revision": {pod: "alpha-old", mutate: deletingSince(10 * time.Second),
			message: "pod chain/alpha-0 is Terminating since 2026-03-01T11:59:50Z; grace period 300 s",
			requeue: 350 * time.Second},
		"terminating pod of the new revision": {pod: "alpha-new", mutate: deletingSince(10 * time.Second),
			message: "pod chain/alpha-0 is Terminating since 2026-03-01T11:59:50Z; grace period 300 s",
			requeue: 350 * time.Second},
		"pod stuck terminating": {pod: "alpha-old", mutate: deletingSince(6*time.Minute + time.Second),
			message: "pod chain/alpha-0 is Terminating since 2026-03-01T11:53:59Z; grace period 300 s. It is stuck on machine " +
				`"machine-1", finalizers example.com/hold: see whether the machine and its kubelet are alive. It is not deleted ` +
				"by force, as seid may still run"},
		"foreign pod": {pod: "alpha-old", mutate: func(p *corev1.Pod) { p.OwnerReferences = ownedBy("Job", "x", "u") },
			terminal: "pod chain/alpha-0 is not of StatefulSet chain/alpha (its controller is Job x"},
		"pod without an owner": {pod: "alpha-old", mutate: func(p *corev1.Pod) { p.OwnerReferences = nil },
			terminal: "it has no owner"},
		"foreign StatefulSet": {sts: func(s *appsv1.StatefulSet) { s.OwnerReferences = nil }, pod: "alpha-old",
			terminal: "StatefulSet chain/alpha is not this node's"},
		"StatefulSet gone": {noSTS: true, pod: "alpha-old", terminal: "was deleted after it was applied"},
		"two replicas": {sts: func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(2)) }, pod: "alpha-old",
			terminal: "has 2 replicas and must have exactly 1"},
		"no replicas": {sts: func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) }, pod: "alpha-old",
			terminal: "has 0 replicas"},
		"applied generation not observed": {pod: "alpha-old", generation: 3,
			message: "waiting for the StatefulSet controller to see the new template of StatefulSet chain/alpha"},
		"later generation not observed": {pod: "alpha-old", sts: func(s *appsv1.StatefulSet) { s.Generation = 5 },
			message: "waiting for the StatefulSet controller to see the new template of StatefulSet chain/alpha"},
		"no update revision yet": {pod: "alpha-old", sts: func(s *appsv1.StatefulSet) { s.Status.UpdateRevision = "" },
			message: "waiting for the StatefulSet controller to see the new template of StatefulSet chain/alpha"},
		"Secret gone since the gate": {pod: "alpha-old", tls: secretTLS,
			message: "keeping pod chain/alpha-0, as its successor could not start: "},
		"new pod needs no Secret": {pod: "alpha-new", tls: secretTLS, done: true},
	} {
		t.Run(name, func(t *testing.T) {
			var objs []client.Object
			env := newEnv(t)
			if !c.noSTS {
				s := testStatefulSet()
				if c.sts != nil {
					c.sts(s)
				}
				objs = append(objs, s)
			}
			if c.pod != "" {
				p := testPod(env, nil, c.pod)
				if c.mutate != nil {
					c.mutate(p)
				}
				objs = append(objs, p)
			}
			counts := map[string]int{}
			env = envOf(fakeClient(t, counting(counts), objs...))
			in := replaceInput(env, c.tls, max(c.generation, 2))
			r, err := Run(t.Context(), env, in)
			if c.terminal != "" {
				require.True(t, IsTerminal(err), "%v", err)
				require.ErrorContains(t, err, c.terminal)
				require.Zero(t, counts["delete"])
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.done, r.Phase == Done)
			require.Contains(t, r.Message, c.message)
			require.Equal(t, c.requeue, r.RequeueAfter)
			require.Equal(t, c.deleted, counts["delete"] == 1)
			if c.done || c.deleted {
				require.Equal(t, "pod-uid", r.Output.PodUID)
			} else {
				require.Nil(t, r.Output)
			}
		})
	}
}

func TestReplacePodDecidesOnLiveObjects(t *testing.T) {
	// The cache still shows the old pod, which somebody evicted meanwhile: the successor must not be deleted.
	env := newEnv(t)
	env.Client = fakeClient(t, interceptor.Funcs{}, testStatefulSet(), testPod(env, nil, "alpha-old"))
	counts := map[string]int{}
	env.Live = fakeClient(t, counting(counts), testStatefulSet(), testPod(env, nil, "alpha-new"))
	r, err := Run(t.Context(), env, replaceInput(env, nil, 2))
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase)
	require.Equal(t, map[string]int{"get": 2}, counts)
}

func TestReplacePodWaitsOnTheCacheAlone(t *testing.T) {
	env := newEnv(t)
	env.Client = fakeClient(t, interceptor.Funcs{}, testStatefulSet(), testPod(env, nil, "alpha-old", deletingSince(time.Second)))
	counts := map[string]int{}
	env.Live = fakeClient(t, counting(counts))
	r, err := Run(t.Context(), env, replaceInput(env, nil, 2))
	require.NoError(t, err)
	require.Equal(t, Waiting, r.Phase)
	require.Empty(t, counts, "a wait costs no request")
}

func TestReplacePodIsDoneOnTheCacheAlone(t *testing.T) {
	env := newEnv(t)
	env.Client = fakeClient(t, interceptor.Funcs{}, testStatefulSet(), testPod(env, nil, "alpha-new"))
	counts := map[string]int{}
	env.Live = fakeClient(t, counting(counts))
	r, err := Run(t.Context(), env, replaceInput(env, nil, 2))
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase)
	require.Empty(t, counts)
	// Not on a cache that has not seen what was applied.
	env.Live = fakeClient(t, counting(counts), testStatefulSet(), testPod(env, nil, "alpha-new"))
	r, err = Run(t.Context(), env, replaceInput(env, nil, 3))
	require.NoError(t, err)
	require.Equal(t, Waiting, r.Phase)
}

func TestReplacePodTwiceDeletesOnce(t *testing.T) {
	env := newEnv(t)
	pod := testPod(env, nil, "alpha-old")
	pod.Finalizers = []string{"example.com/hold"} // stands in for the kubelet: the pod stays until it is gone
	counts := map[string]int{}
	env = envOf(fakeClient(t, counting(counts), testStatefulSet(), pod))
	for range 3 { // a driver that died after the delete runs the task again, with nothing recorded
		r, err := Run(t.Context(), env, replaceInput(env, nil, 2))
		require.NoError(t, err)
		require.Equal(t, Waiting, r.Phase)
	}
	require.Equal(t, 1, counts["delete"])
}

func TestReplacePodNamesTheUIDAndNeverForces(t *testing.T) {
	env := newEnv(t)
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "alpha-0", errors.New("the UID in the precondition"))
	env = envOf(fakeClient(t, interceptor.Funcs{
		Delete: func(_ context.Context, _ client.WithWatch, _ client.Object, opts ...client.DeleteOption) error {
			o := (&client.DeleteOptions{}).ApplyOptions(opts)
			require.EqualValues(t, "pod-uid", *o.Preconditions.UID)
			require.Nil(t, o.GracePeriodSeconds)
			return conflict
		},
	}, testStatefulSet(), testPod(env, nil, "alpha-old")))
	r, err := Run(t.Context(), env, replaceInput(env, nil, 2))
	require.NoError(t, err)
	require.Equal(t, "pod chain/alpha-0 was replaced by somebody else", r.Message)
	require.Equal(t, retryPoll, r.RequeueAfter)
}

func TestReplacePodKeepsThePodWhenTheSecretCannotBeRead(t *testing.T) {
	env := newEnv(t)
	objs := []client.Object{testStatefulSet(), testPod(env, nil, "alpha-old")}
	env = envOf(fakeClient(t, denySecrets(), objs...))
	_, err := Run(t.Context(), env, replaceInput(env, secretTLS, 2))
	require.ErrorContains(t, err, "TLSSecretUnavailable")
	require.False(t, IsTerminal(err))
}

func TestReplacePodSaysWhyThereIsNoSuccessor(t *testing.T) {
	sts := testStatefulSet()
	env := newEnv(t, sts, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: testNamespace, Name: "e"},
		InvolvedObject: corev1.ObjectReference{UID: sts.UID}, Reason: "FailedCreate",
		Message: `serviceaccount "seid-node" not found`, LastTimestamp: metav1.NewTime(now),
	})
	in := replaceInput(env, nil, 2)
	r, err := Run(t.Context(), env, in)
	require.NoError(t, err)
	require.NotContains(t, r.Message, "serviceaccount", "nobody asks in the first seconds")
	in.Task.StartedAt = &metav1.MicroTime{Time: now.Add(-successorPoll)}
	r, err = Run(t.Context(), env, in)
	require.NoError(t, err)
	require.Contains(t, r.Message, `serviceaccount "seid-node" not found`)
	require.Equal(t, successorPoll, r.RequeueAfter)
}

// denySecrets is an API server that does not let us read Secrets.
func denySecrets() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if _, ok := obj.(*corev1.Secret); ok {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, errors.New("RBAC"))
			}
			return c.Get(ctx, key, obj, opts...)
		},
	}
}
