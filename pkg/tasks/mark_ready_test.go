package tasks

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

// parked is a pod whose seid has not passed its startup probe; let is one whose seid has.
func parked(p *corev1.Pod) { p.Status.ContainerStatuses[0].Started = new(false) }
func let(p *corev1.Pod)    { p.Status.ContainerStatuses[0].Started = new(true) }
func ready(p *corev1.Pod) {
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
}

func markReadyInput(await bool) Input {
	return input(v1alpha1.TaskMarkReady, v1alpha1.TaskParams{MarkReady: &v1alpha1.MarkReadyParams{AwaitPodReady: await}},
		applied(v1alpha1.TaskApplyStatefulSet, 2), applied(v1alpha1.TaskReplacePod, 0))
}

func TestMarkReadyRunsToItsEnd(t *testing.T) {
	pod := testPod(newEnv(t), nil, "alpha-new", parked)
	env := newEnv(t, testStatefulSet(), pod)
	f := &fakeSidecar{}
	plainSidecar(t, env, f)
	in := markReadyInput(true)

	r, err := Run(t.Context(), env, in)
	requireWaits(t, r, err, "accepted mark-ready")
	require.True(t, r.Output.Accepted)
	require.Equal(t, "pod-uid", r.Output.PodUID)
	require.Equal(t, firstHealthPoll, r.RequeueAfter)
	require.Len(t, f.posted, 1)

	in.Task.Output = r.Output
	r, err = Run(t.Context(), env, in)
	requireWaits(t, r, err, "it is not Ready yet")
	require.True(t, r.Output.Accepted)
	require.Len(t, f.posted, 1, "a healthy sidecar is not told again")

	let(pod)
	ready(pod)
	require.NoError(t, env.Client.Status().Update(t.Context(), pod))
	r, err = Run(t.Context(), env, in)
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase)
	require.True(t, r.Output.Accepted)
}

func TestMarkReadyTakesAHealthySidecarForAccepted(t *testing.T) {
	env := newEnv(t)
	env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", let))
	f := &fakeSidecar{ready: true}
	plainSidecar(t, env, f)
	r, err := Run(t.Context(), env, markReadyInput(false))
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase, "a started seid suffices")
	require.True(t, r.Output.Accepted)
	require.Empty(t, f.posted)

	r, err = Run(t.Context(), env, markReadyInput(true))
	requireWaits(t, r, err, "it is not Ready yet")
}

func TestMarkReadyIsPostedAgainToARestartedSidecar(t *testing.T) {
	pod := testPod(newEnv(t), nil, "alpha-new", parked)
	env := newEnv(t, testStatefulSet(), pod)
	f := &fakeSidecar{}
	plainSidecar(t, env, f)
	in := markReadyInput(true)
	r, err := Run(t.Context(), env, in)
	require.NoError(t, err)
	in.Task.Output = r.Output

	f.ready = false // it restarted: the id is still known on its disk, readiness is not
	r, err = Run(t.Context(), env, in)
	requireWaits(t, r, err, "completed mark-ready and still answers 503")
	require.Len(t, f.posted, 1)

	containerStatus(pod, resources.ContainerSidecar).ContainerID = "containerd://another"
	require.NoError(t, env.Client.Status().Update(t.Context(), pod))
	r, err = Run(t.Context(), env, in)
	requireWaits(t, r, err, "accepted mark-ready")
	require.Len(t, f.posted, 2)
	require.NotEqual(t, f.posted[0], f.posted[1])
	require.True(t, f.ready)
}

func TestMarkReadyThatIsRefusedIsNotAccepted(t *testing.T) {
	for code, want := range map[int]string{
		http.StatusUnauthorized: "answers 401: the token was refused",
		http.StatusForbidden:    "answers 403: ServiceAccount sei-system/seictl-client may not",
	} {
		env := newEnv(t)
		env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", parked))
		plainSidecar(t, env, &fakeSidecar{postCode: code})
		r, err := Run(t.Context(), env, markReadyInput(true))
		requireWaits(t, r, err, want)
		require.Nil(t, r.Output)
	}
	env := newEnv(t)
	env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", parked))
	plainSidecar(t, env, &fakeSidecar{postCode: http.StatusInternalServerError})
	r, err := Run(t.Context(), env, markReadyInput(true))
	require.ErrorContains(t, err, "500")
	require.False(t, IsTerminal(err))
	require.Nil(t, r.Output)
}

func TestMarkReadyOfUnknownDeliveryIsAccepted(t *testing.T) {
	env := newEnv(t)
	env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", parked))
	f := &fakeSidecar{hangUp: true}
	plainSidecar(t, env, f)
	r, err := Run(t.Context(), env, markReadyInput(true))
	requireWaits(t, r, err, "accepted mark-ready")
	require.True(t, r.Output.Accepted)
}

func TestMarkReadyThatFailsInTheSidecarIsPostedAgain(t *testing.T) {
	env := newEnv(t)
	env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-new", parked))
	f := &fakeSidecar{result: sidecar.TaskFailed}
	plainSidecar(t, env, f)
	in := markReadyInput(true)
	r, err := Run(t.Context(), env, in)
	require.NoError(t, err)
	in.Task.Output = r.Output
	f.result = ""
	_, err = Run(t.Context(), env, in)
	require.ErrorContains(t, err, "it did not work")
	require.False(t, IsTerminal(err))
	require.Len(t, f.posted, 2)
	require.Equal(t, f.posted[0], f.posted[1])
}

func TestMarkReadyNeverTouchesAnotherRevision(t *testing.T) {
	env := newEnv(t)
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"old revision": {testPod(env, nil, "alpha-old", parked), "pod chain/alpha-0 is of revision alpha-old, not of alpha-new"},
		"terminating":  {testPod(env, nil, "alpha-new", parked, deletingSince(0)), "pod chain/alpha-0 is Terminating"},
		"foreign":      {testPod(env, nil, "alpha-new", func(p *corev1.Pod) { p.OwnerReferences = nil }), "is not of StatefulSet alpha"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, testStatefulSet(), c.pod)
			f := &fakeSidecar{}
			plainSidecar(t, env, f)
			r, err := Run(t.Context(), env, markReadyInput(true))
			requireWaits(t, r, err, c.want)
			require.Empty(t, f.posted)
		})
	}
}

func TestMarkReadyOfANodeWithoutAPlannedCycleTakesThePodThatRuns(t *testing.T) {
	env := newEnv(t)
	env = newEnv(t, testStatefulSet(), testPod(env, nil, "alpha-old", parked))
	f := &fakeSidecar{}
	plainSidecar(t, env, f)
	in := input(v1alpha1.TaskMarkReady, v1alpha1.TaskParams{MarkReady: &v1alpha1.MarkReadyParams{}})
	_, err := Run(t.Context(), env, in)
	require.NoError(t, err)
	require.Len(t, f.posted, 1)
}

func TestMarkReadyTrustsWhatIsStampedAndThenTheSecret(t *testing.T) {
	ca := newAuthority(t, "ca")
	served, stamped := ca.issue(t, testDNSNames...), newAuthority(t, "old").issue(t, testDNSNames...)
	for name, c := range map[string]struct {
		fingerprint string
		secret      *corev1.Secret
		gets        int
		want        string
	}{
		"stamped fingerprint costs no request": {certs.Fingerprint(served.leaf(t)), nil, 0, "accepted"},
		"renewed since: the Secret's leaf":     {certs.Fingerprint(stamped.leaf(t)), served.secret(issuerTLS), 1, "accepted"},
		"nothing stamped: the Secret's leaf":   {"", served.secret(issuerTLS), 1, "accepted"},
		"neither":                              {certs.Fingerprint(stamped.leaf(t)), stamped.secret(issuerTLS), 1, "cannot be reached"},
		"Secret gone":                          {certs.Fingerprint(stamped.leaf(t)), nil, 1, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t)
			env = newEnv(t, testStatefulSet(), testPod(env, issuerTLS, "alpha-new", parked))
			counts := map[string]int{}
			live := fakeClient(t, counting(counts))
			if c.secret != nil {
				live = fakeClient(t, counting(counts), c.secret)
			}
			env.Live = live
			f := &fakeSidecar{}
			tlsSidecar(t, atWallTime(env), f, served.tls(t))
			in := markReadyInput(true)
			in.Node.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *issuerTLS, FingerprintSHA256: c.fingerprint}
			r, err := Run(t.Context(), env, in)
			requireWaits(t, r, err, c.want)
			require.Equal(t, c.gets, counts["get"])
		})
	}
}

func TestWireIDs(t *testing.T) {
	task := &v1alpha1.Task{ID: "6d5c1a86-4b7f-5a52-9c6d-6a6f5b1d2c3e", Type: v1alpha1.TaskMarkReady}
	id := wireID(task, "pod", "container")
	require.Equal(t, id, wireID(task, "pod", "container"))
	require.NotEqual(t, id, wireID(task, "pod2", "container"))
	require.NotEqual(t, id, wireID(task, "pod", "container2"))
	require.NotEqual(t, id, wireID(&v1alpha1.Task{ID: "not a uuid", Type: task.Type}, "pod", "container"))
	require.Len(t, id, 36)
}
