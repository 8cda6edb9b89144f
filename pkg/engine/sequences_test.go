package engine

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
	"sei.io/seictl/pkg/tasks"
)

var (
	sequences = flag.Int("sequences", 25, "how many random sequences TestRandomSequences runs")
	sequence  = flag.Uint64("sequence", 0, "replay this one sequence of TestRandomSequences")
)

// Whatever is edited, fails, crashes or is evicted in whatever order: the invariants hold at every pass, and once all is
// well again every node settles on its spec.
func TestRandomSequences(t *testing.T) {
	if *sequence != 0 {
		synctest.Test(t, func(t *testing.T) { runSequence(t, *sequence) })
		return
	}
	for seed := uint64(1); seed <= uint64(*sequences); seed++ {
		t.Run(fmt.Sprintf("sequence=%d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runSequence(t, seed) })
		})
	}
}

// walk is a world in which things happen at random, with a StatefulSet controller, a kubelet and a cert-manager that work, each
// in its own time. What decides about pods and what looks at them are the tasks themselves. It has a clock of its own, that of
// certificates and connections included.
type walk struct {
	*world
	rand *rand.Rand
	// faults keep tasks from their work.
	faults map[v1alpha1.TaskType]fault
	// revisions are the templates that the StatefulSet has had: the same template is the same revision.
	revisions []corev1.PodTemplateSpec
	// template is what new pods are made of, and pods counts them.
	template *corev1.Pod
	pods     int
	// prompt has controllers do at once what they would do some time, and did counts what they did.
	prompt bool
	did    int
	// issuerAway has cert-manager issue nothing.
	issuerAway bool
	// proxy is what the pod's proxy has loaded, and presented the leaf that it showed last in a pass.
	proxy     proxyState
	presented string
	// lags are the caches that lag behind, by kind.
	lags map[string]*lag
	// task is the one that runs.
	task *tasks.Input
	// deletes counts pods deleted, and latched is what each plan set out for, by plan.
	deletes map[string]int
	latched map[string]v1alpha1.Plan
	story   []string
}

type fault string

const (
	waits    fault = "waits"
	errs     fault = "fails for now"
	terminal fault = "fails for good"
)

// faulty are the tasks that fail.
var faulty = []v1alpha1.TaskType{
	v1alpha1.TaskApplySidecarCert, v1alpha1.TaskWaitForSidecarTLSSecret, v1alpha1.TaskApplyRBACProxyConfig,
	v1alpha1.TaskApplyStatefulSet, v1alpha1.TaskApplyService, v1alpha1.TaskReplacePod, v1alpha1.TaskObserveImage,
	v1alpha1.TaskObserveSidecarTLS, v1alpha1.TaskMarkReady, v1alpha1.TaskDeleteRBACProxyConfig, v1alpha1.TaskDeleteSidecarCert,
}

func runSequence(t *testing.T, seed uint64) {
	k := newWalk(t, seed)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("go test ./pkg/engine -run TestRandomSequences -sequence=%d; what happened:", seed)
			for _, line := range k.story {
				t.Log("  " + line)
			}
		}
	})
	for range 40 {
		k.happen()
		k.step()
	}
	k.recover()
}

func newWalk(t *testing.T, seed uint64) *walk {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	var tls *v1alpha1.SidecarTLSConfig
	if r.IntN(2) == 0 {
		tls = issuerTLS("issuer-a")
	}
	n := running(tls)
	objs := objects(t, n)
	if tls != nil {
		objs = stamp(t, n, objs)
	}
	time.Sleep(time.Until(t0))
	k := &walk{world: newWorld(t, n, objs...), rand: r, faults: map[v1alpha1.TaskType]fault{}, deletes: map[string]int{},
		latched: map[string]v1alpha1.Plan{}, lags: map[string]*lag{}}
	k.provide("own", pair(t, n, secretTLS("own"), t0.Add(1000*time.Hour)))
	k.revisions = []corev1.PodTemplateSpec{k.statefulSet().Spec.Template}
	k.template = k.livePod()
	k.startPod(k.livePod())
	k.letGo()
	k.engine.opts.Client, k.engine.opts.Live = k.cache(), k.api()
	k.engine.opts.Sidecar = &sidecar.Connector{Dialer: k, Tokens: anyToken{}}
	k.engine.opts.OnPlanEnd = k.planEnded
	k.engine.wire.run, k.engine.wire.served = k.runTask, tasks.ServedLeaf
	return k
}

func (k *walk) tell(format string, args ...any) {
	k.story = append(k.story, fmt.Sprintf(format, args...))
}

func (k *walk) statefulSet() *appsv1.StatefulSet {
	k.t.Helper()
	var sts appsv1.StatefulSet
	require.NoError(k.t, k.client.Get(k.t.Context(), key, &sts))
	return &sts
}

// livePod is the pod; nil when there is none.
func (k *walk) livePod() *corev1.Pod {
	k.t.Helper()
	var pod corev1.Pod
	err := k.client.Get(k.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: resources.PodName(key.Name)}, &pod)
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(k.t, err)
	return &pod
}

// advance has time pass.
func (k *walk) advance(d time.Duration) {
	time.Sleep(d)
	k.now = time.Now()
}

// happen is one thing that users, machines and other processes do.
func (k *walk) happen() {
	k.t.Helper()
	switch k.rand.IntN(32) {
	case 0, 1:
		image := fmt.Sprintf("seid:v%d", 1+k.rand.IntN(3))
		k.tell("spec.image = %s", image)
		k.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = image })
	case 2, 3, 4:
		k.editTLS()
	case 5:
		paused := k.rand.IntN(2) == 0
		k.tell("spec.paused = %t", paused)
		k.edit(func(n *v1alpha1.SeiNode) { n.Spec.Paused = paused })
	case 6, 7, 8:
		task := faulty[k.rand.IntN(len(faulty))]
		k.faults[task] = []fault{waits, errs, terminal}[k.rand.IntN(3)]
		k.tell("%s %s", task, k.faults[task])
	case 9, 10:
		k.tell("no task fails any more")
		clear(k.faults)
	case 11, 12:
		k.tell("the driver dies, another one takes over")
		k.handOver()
		clear(k.lags) // it has read everything
	case 13:
		k.tell("the next write of the status is lost")
		k.fail["patch status"] = errors.New("away")
	case 14, 15:
		by := time.Duration(k.rand.IntN(1200)) * time.Second
		k.tell("%s pass", by)
		k.advance(by)
	case 16:
		k.askToRetry()
	case 17:
		k.tell("the pod is evicted")
		k.removePod()
	case 18, 19:
		k.changeSecret()
	case 20, 21, 22:
		k.lagBehind()
	case 23:
		k.proxy.fault = []string{"", wrongLeaf, noTLS}[k.rand.IntN(3)]
		k.tell("the proxy: %q", k.proxy.fault)
	case 24:
		k.issuerAway = !k.issuerAway
		k.tell("cert-manager is away: %t", k.issuerAway)
	}
}

func (k *walk) editTLS() {
	tls := []*v1alpha1.SidecarTLSConfig{nil, nil, issuerTLS("issuer-a"), issuerTLS("issuer-b"), secretTLS("own")}[k.rand.IntN(5)]
	consent := k.rand.IntN(3) > 0
	k.tell("spec.sidecar.tls = %s, consent %t", tls, consent)
	k.edit(func(n *v1alpha1.SeiNode) {
		n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: tls}
		delete(n.Annotations, v1alpha1.AnnotationAllowTLSRemoval)
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		if tls == nil && consent {
			n.Annotations[v1alpha1.AnnotationAllowTLSRemoval] = "true"
		}
	})
}

func (k *walk) askToRetry() {
	k.tell("a retry is asked for")
	k.edit(func(n *v1alpha1.SeiNode) {
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = k.now.Format(time.RFC3339Nano) + fmt.Sprint(k.rand.Uint32())
	})
}

// step is one pass, or two for an event that comes twice, and what must hold after each.
func (k *walk) step() Outcome {
	k.t.Helper()
	k.control()
	node := k.node()
	if l := k.lags["node"]; l != nil {
		node = l.objects[key.Name].(*v1alpha1.SeiNode).DeepCopy()
	}
	out := k.pass(node)
	if k.rand.IntN(8) == 0 {
		out = k.pass(node)
	}
	k.catchUp()
	did := k.did
	if k.prompt {
		k.control()
	}
	switch wait := out.RequeueAfter; {
	case wait <= 0 || wait >= time.Hour:
	case k.did > did: // a watch wakes it
	case k.prompt || k.rand.IntN(2) == 0:
		k.advance(wait)
	default: // something wakes it earlier
		k.advance(min(wait, time.Duration(k.rand.IntN(5))*time.Second))
	}
	return out
}

// pass is one pass.
func (k *walk) pass(node *v1alpha1.SeiNode) Outcome {
	k.t.Helper()
	before, patches := k.node(), k.requests["patch status"]
	k.presented = ""
	out, err := k.engine.Pass(k.t.Context(), node)
	if k.fail["patch status"] == nil && (k.lags["node"] == nil && node.ResourceVersion == before.ResourceVersion || !apierrors.IsConflict(err)) {
		require.NoError(k.t, err)
	}
	delete(k.fail, "patch status")
	require.LessOrEqual(k.t, k.requests["patch status"]-patches, 1, "at most one status patch a pass")
	after := k.node()
	k.requireStamped(before, after)
	k.requireLatched(after)
	return out
}

// recover has all be well again and requires that the node settles on its spec, for good.
func (k *walk) recover() {
	k.t.Helper()
	k.tell("all is well again")
	clear(k.faults)
	clear(k.lags)
	k.prompt, k.issuerAway, k.proxy.fault = true, false, ""
	k.provide("own", pair(k.t, k.node(), secretTLS("own"), k.now.Add(1000*time.Hour)))
	k.edit(func(n *v1alpha1.SeiNode) { n.Spec.Paused = false })
	k.askToRetry()
	var out Outcome
	for range 200 {
		if out = k.step(); out.Settled && out.RequeueAfter != Immediately {
			break
		}
	}
	n := k.node()
	require.True(k.t, out.Settled, "it does not settle: %+v, %s %s", n.Status, out.Idle, out.Detail)
	want := drift.Target(n)
	require.Equal(k.t, want.Image, n.Status.CurrentImage)
	require.True(k.t, n.Status.CurrentSidecarTLS.Config().Equal(want.SidecarTLS), "%v, wanted %v", n.Status.CurrentSidecarTLS, want.SidecarTLS)
	require.Equal(k.t, v1alpha1.PhaseRunning, n.Status.Phase)
	require.Equal(k.t, 200, k.health, "seid was let go")
	require.Equal(k.t, k.statefulSet().Status.UpdateRevision, k.livePod().Labels[appsv1.StatefulSetRevisionLabel],
		"an eviction would bring nothing new")
	for range 3 { // whatever is said of a renewed certificate
		k.step()
	}
	ran, patches, told := len(k.ran), k.requests["patch status"], len(k.story)
	for range 3 {
		k.step()
	}
	if len(k.story) > told {
		return // another renewal
	}
	require.Len(k.t, k.ran, ran, "a settled node runs nothing")
	require.Equal(k.t, patches, k.requests["patch status"], "a settled node writes nothing")
}
