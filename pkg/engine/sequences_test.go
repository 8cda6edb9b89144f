package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/resources"
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
		runSequence(t, *sequence)
		return
	}
	for seed := uint64(1); seed <= uint64(*sequences); seed++ {
		t.Run(fmt.Sprintf("sequence=%d", seed), func(t *testing.T) {
			t.Parallel()
			runSequence(t, seed)
		})
	}
}

// walk is a world in which things happen at random, with a StatefulSet controller, a kubelet and a cert-manager that work.
type walk struct {
	*world
	rand *rand.Rand
	// faults keep tasks from their work.
	faults map[v1alpha1.TaskType]fault
	// revisions are the templates that the StatefulSet has had: the same template is the same revision.
	revisions []corev1.PodTemplateSpec
	// deletes counts pods deleted, and latched is what each plan set out for, by plan.
	deletes map[string]int
	latched map[string]v1alpha1.Plan
	// pods counts incarnations.
	pods  int
	story []string
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
	objs = append(objs, pair(t, n, secretTLS("own"), t0.Add(1000*time.Hour)))
	k := &walk{world: newWorld(t, n, objs...), rand: r, faults: map[v1alpha1.TaskType]fault{}, deletes: map[string]int{},
		latched: map[string]v1alpha1.Plan{}}
	k.revisions = []corev1.PodTemplateSpec{k.statefulSet().Spec.Template}
	k.engine.wire.run = k.runTask
	k.engine.opts.OnPlanEnd = k.planEnded
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

func (k *walk) livePod() *corev1.Pod {
	k.t.Helper()
	var pod corev1.Pod
	require.NoError(k.t, k.client.Get(k.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: resources.PodName(key.Name)}, &pod))
	return &pod
}

// happen is one thing that users, machines and other processes do.
func (k *walk) happen() {
	k.t.Helper()
	switch k.rand.IntN(24) {
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
	case 13:
		k.tell("the next write of the status is lost")
		k.fail["patch status"] = errors.New("away")
	case 14, 15:
		by := time.Duration(k.rand.IntN(1200)) * time.Second
		k.tell("%s pass", by)
		k.now = k.now.Add(by)
	case 16:
		k.askToRetry()
	case 17:
		k.tell("the pod is evicted")
		k.newPod()
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

// step is one pass, and what must hold after each.
func (k *walk) step() Outcome {
	k.t.Helper()
	if k.rand.IntN(2) == 0 {
		k.issue()
	}
	before, patches := k.node(), k.requests["patch status"]
	out, err := k.engine.Pass(k.t.Context(), before)
	if k.fail["patch status"] == nil {
		require.NoError(k.t, err)
	}
	delete(k.fail, "patch status")
	after := k.node()
	require.LessOrEqual(k.t, k.requests["patch status"]-patches, 1, "at most one status patch a pass")
	if p := after.Status.Plan; p != nil {
		first, seen := k.latched[p.ID]
		if !seen {
			first = *p.DeepCopy()
			k.latched[p.ID] = first
			k.tell("plan %s %s to %v", p.Kind, p.ID[:8], p.Target)
		}
		require.Equal(k.t, first.Target, p.Target, "the target of plan %s is latched", p.ID)
		require.Equal(k.t, first.Previous, p.Previous, "what plan %s returns to is latched", p.ID)
	}
	if out.RequeueAfter > 0 && out.RequeueAfter < time.Hour {
		k.now = k.now.Add(out.RequeueAfter)
	}
	return out
}

// recover has all be well again and requires that the node settles on its spec, for good.
func (k *walk) recover() {
	k.t.Helper()
	k.tell("all is well again")
	clear(k.faults)
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
	k.issue()
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

// planEnded checks what must hold when a plan ends.
func (k *walk) planEnded(_ *v1alpha1.SeiNode, p *v1alpha1.Plan, outcome v1alpha1.PlanPhase) {
	k.tell("plan %s %s %s %s", p.Kind, p.ID[:8], outcome, p.FailedTaskDetail)
	if p.Kind == v1alpha1.NodeRollback && outcome == v1alpha1.PlanComplete {
		require.Equal(k.t, p.Previous.ControllerRevision, k.statefulSet().Status.UpdateRevision,
			"after a rollback the live template is the previous one")
	}
}

// runTask is a task with its effects, unless a fault keeps it from them.
func (k *walk) runTask(ctx context.Context, env *tasks.Env, in tasks.Input) (tasks.Result, error) {
	switch k.faults[in.Task.Type] {
	case waits:
		return tasks.Wait("it takes its time"), nil
	case errs:
		return tasks.Result{}, errors.New("for now")
	case terminal:
		return tasks.Result{}, tasks.Terminalf("for good")
	}
	switch in.Task.Type {
	case v1alpha1.TaskWaitForSidecarTLSSecret:
		if tls := in.Task.Params.TLSSecret.TLS; tls.IssuerName != "" {
			k.issue()
		}
	case v1alpha1.TaskApplyStatefulSet:
		k.applyTemplate(in.Task.Params.StatefulSet)
		return tasks.Completed(nil), nil
	case v1alpha1.TaskReplacePod:
		k.replacePod(in)
		return tasks.Completed(nil), nil
	case v1alpha1.TaskObserveImage:
		if k.livePod().Spec.Containers[0].Image != in.Plan.Target.Image {
			return tasks.Wait("another image runs"), nil
		}
	case v1alpha1.TaskObserveSidecarTLS:
		if on := in.Plan.Target.SidecarTLS != nil; on != hasProxy(k.livePod()) {
			return tasks.Wait("something else is served"), nil
		}
	case v1alpha1.TaskMarkReady:
		k.letGo()
	}
	return k.run(ctx, env, in)
}

// issue is what cert-manager does about the node's Certificate, if there is one: it has the Secret hold what it says.
func (k *walk) issue() {
	k.t.Helper()
	var cert cmv1.Certificate
	name := resources.CertificateName(key.Name)
	if k.client.Get(k.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: name}, &cert) != nil {
		return
	}
	var secret corev1.Secret
	err := k.client.Get(k.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: name}, &secret)
	if err == nil && secret.Annotations[cmv1.IssuerNameAnnotationKey] == cert.Spec.IssuerRef.Name && leaf(k.t, &secret).NotAfter.After(k.now) {
		return
	}
	k.tell("cert-manager issues for %s", cert.Spec.IssuerRef.Name)
	issued := pair(k.t, k.node(), issuerTLS(cert.Spec.IssuerRef.Name), k.now.Add(12*time.Hour))
	if err == nil { // an update: the fake API server counts the versions of a new object from one again
		issued.ResourceVersion = secret.ResourceVersion
		require.NoError(k.t, k.client.Update(k.t.Context(), issued))
		return
	}
	k.put(issued)
}

func hasProxy(pod *corev1.Pod) bool {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == resources.ContainerProxy {
			return true
		}
	}
	return false
}

// applyTemplate is what an apply makes of the StatefulSet, and its controller of the status.
func (k *walk) applyTemplate(p *v1alpha1.StatefulSetParams) {
	sts := k.statefulSet()
	if p.FromRevision != "" {
		sts.Spec.Template = k.revisions[revisionIndex(p.FromRevision)]
	} else {
		sts.Spec.Template = resources.StatefulSet(resources.Owner{Namespace: key.Namespace, Name: key.Name}, *p.Template).Spec.Template
	}
	i := 0
	for ; i < len(k.revisions) && !equality.Semantic.DeepEqual(k.revisions[i], sts.Spec.Template); i++ {
		continue
	}
	if i == len(k.revisions) {
		k.revisions = append(k.revisions, sts.Spec.Template)
	}
	sts.Status.UpdateRevision = fmt.Sprintf("r%d", i+1)
	k.store(sts, sts.DeepCopy())
}

func revisionIndex(name string) int {
	i := 0
	_, _ = fmt.Sscanf(name, "r%d", &i)
	return i - 1
}

// replacePod deletes the pod of another revision, once a plan, and only when its successor can start.
func (k *walk) replacePod(in tasks.Input) {
	if k.livePod().Labels[appsv1.StatefulSetRevisionLabel] == k.statefulSet().Status.UpdateRevision {
		return
	}
	if p := in.Task.Params.ReplacePod.TLSSecret; p != nil {
		var secret corev1.Secret
		require.NoError(k.t, k.client.Get(k.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: p.SecretName}, &secret),
			"a pod is deleted whose successor cannot start")
	}
	k.deletes[in.Plan.ID]++
	require.Equal(k.t, 1, k.deletes[in.Plan.ID], "plan %s deletes a pod", in.Plan.ID)
	k.newPod()
}

// newPod is a pod of the update revision, whose sidecar holds seid back.
func (k *walk) newPod() {
	sts, pod := k.statefulSet(), k.livePod()
	k.pods++
	pod.UID, pod.ResourceVersion = types.UID(fmt.Sprintf("pod-%d", k.pods)), ""
	pod.Labels[appsv1.StatefulSetRevisionLabel] = sts.Status.UpdateRevision
	pod.Spec = sts.Spec.Template.Spec
	pod.Status.Conditions[0].Status = corev1.ConditionFalse
	pod.Status.InitContainerStatuses[0].Ready = false
	pod.Status.InitContainerStatuses[0].ContainerID = fmt.Sprintf("lab://%d", k.pods)
	k.put(pod)
	k.health = 503
}

// letGo is what mark-ready does: seid starts, and the pod becomes Ready.
func (k *walk) letGo() {
	k.pod(func(p *corev1.Pod) {
		p.Status.Conditions[0].Status = corev1.ConditionTrue
		p.Status.InitContainerStatuses[0].Ready = true
	})
	k.health = 200
}
