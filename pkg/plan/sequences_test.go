package plan

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
)

var (
	sequences = flag.Int("sequences", 500, "how many random sequences TestRandomSequences runs")
	sequence  = flag.Uint64("sequence", 0, "replay this one sequence of TestRandomSequences")
)

// Whatever is edited and however tasks end: every plan keeps to the contract, and once all goes well the node comes to its
// spec.
func TestRandomSequences(t *testing.T) {
	if *sequence != 0 {
		runSequence(t, *sequence)
		return
	}
	for seed := uint64(1); seed <= uint64(*sequences) && !t.Failed(); seed++ {
		runSequence(t, seed)
	}
}

// walk is a node without a cluster: what tasks do to it is said here, and what is due is left to the planner.
type walk struct {
	t    *testing.T
	rand *rand.Rand
	node *v1alpha1.SeiNode
	now  time.Time
	// revisions are the templates that there have been, template the live one and pod what the pod runs: each an index.
	revisions     []template
	template, pod int
	parked, sound bool
	// objects are the repairs that are due.
	objects []v1alpha1.TaskType
	// first is each plan as it was built, and deletes how many pods it replaced, by plan.
	first   map[string]*v1alpha1.Plan
	deletes map[string]int
	story   []string
}

func runSequence(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	k := &walk{t: t, rand: r, now: t0, sound: true, first: map[string]*v1alpha1.Plan{}, deletes: map[string]int{}}
	k.node = runningNode(k.someTLS())
	if r.IntN(4) == 0 {
		k.node.Status = v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhasePending}
	}
	k.node.Generation = 1
	k.revisions = []template{templateOf(v1alpha1.PlanTarget{Image: k.node.Status.CurrentImage, SidecarTLS: k.node.Status.CurrentSidecarTLS.Config()})}
	defer func() {
		if t.Failed() {
			t.Logf("go test ./pkg/plan -run TestRandomSequences -sequence=%d; what happened:", seed)
			for _, line := range k.story {
				t.Log("  " + line)
			}
		}
	}()
	for range 60 {
		k.happen()
		k.step(false)
	}
	k.recover()
}

func (k *walk) tell(format string, args ...any) {
	k.story = append(k.story, fmt.Sprintf(format, args...))
}

func (k *walk) someTLS() *v1alpha1.SidecarTLSConfig {
	return []*v1alpha1.SidecarTLSConfig{nil, nil, issuerTLS("a"), issuerTLS("b"), secretTLS("x"), secretTLS("y")}[k.rand.IntN(6)]
}

// happen is one thing that users and machines do.
func (k *walk) happen() {
	n := k.node
	switch k.rand.IntN(20) {
	case 0, 1:
		n.Spec.Image = fmt.Sprintf("seid:v%d", 1+k.rand.IntN(3))
		k.edited("image %s", n.Spec.Image)
	case 2, 3, 4:
		n.Spec.Sidecar.TLS = k.someTLS()
		delete(n.Annotations, v1alpha1.AnnotationAllowTLSRemoval)
		if k.rand.IntN(3) > 0 {
			consent(n)
		}
		k.edited("TLS %s, consent %t", n.Spec.Sidecar.TLS, n.TLSRemovalAllowed())
	case 5:
		n.Spec.Paused = k.rand.IntN(2) == 0
		k.edited("paused %t", n.Spec.Paused)
	case 6:
		n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = fmt.Sprint(len(k.story))
		k.tell("retry")
	case 7, 8:
		k.now = k.now.Add(time.Duration(k.rand.IntN(2400)) * time.Second)
		k.tell("time passes")
	case 9:
		k.sound = k.rand.IntN(3) > 0
		k.tell("Secrets are sound: %t", k.sound)
	case 10:
		if n.Status.Phase == v1alpha1.PhaseRunning {
			k.pod, k.parked = k.template, true
			k.tell("the pod is evicted")
		}
	case 11:
		k.objects = append(k.objects, repairOrder[k.rand.IntN(len(repairOrder))])
		k.tell("%s is due", k.objects[len(k.objects)-1])
	}
}

func (k *walk) edited(format string, args ...any) {
	k.node.Generation++
	k.tell(format, args...)
}

// input is what a pass would give the planner; the planner must leave it as it is.
func (k *walk) input() Input {
	s := live(k.revision(k.template), k.revision(k.pod))
	if k.parked {
		s.Sidecar = drift.SidecarParked
	}
	s.Pod.Status.Conditions[0].Status = corev1.ConditionStatus(map[bool]string{true: "False", false: "True"}[k.parked])
	s.Pod.Spec.Containers = []corev1.Container{{Name: "seid", Image: k.revisions[k.pod].image}}
	verdict := certs.Verdict{Ready: k.sound, Message: "it is not sound", SecretSHA256: fmt.Sprint(k.sound)}
	s.CurrentVerdict, s.TargetVerdict = &verdict, &verdict
	in := input(k.node, s)
	in.Now, in.ID = k.now, k.id()
	if !in.Drift.NodeUpdateDue() || Held(k.node, s) {
		for _, task := range k.objects {
			if !slices.ContainsFunc(in.Drift.Findings, func(f drift.Finding) bool { return f.Task == task }) {
				in = drifted(in, task)
			}
		}
	}
	return in
}

func (k *walk) revision(i int) string { return fmt.Sprintf("r%d", i+1) }

// id is a UUID that the seed decides.
func (k *walk) id() string {
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(k.rand.Uint32())
	}
	return uuid.UUID(raw).String()
}

// step is what a pass does: it asks the planner, and runs one task.
func (k *walk) step(well bool) Decision {
	k.t.Helper()
	in := k.input()
	opt := Options{IgnoreBackoff: k.rand.IntN(4) == 0}
	node, snapshot := in.Node.DeepCopy(), *in.Snapshot
	d := Resolve(in, opt)
	require.Equal(k.t, d, Resolve(in, opt), "the same input is the same decision")
	require.Equal(k.t, node, in.Node, "the planner changes nothing")
	require.Equal(k.t, snapshot, *in.Snapshot, "the planner changes nothing")
	k.requireDecision(&in, d)

	st := &k.node.Status
	if d.ClearHold {
		st.Hold = nil
	}
	if d.Ended != nil {
		k.ended(d.Ended, v1alpha1.PlanSuperseded)
		st.Plan = nil
	}
	if d.New {
		st.Plan = d.Plan.DeepCopy()
		if d.Plan.Kind == v1alpha1.NodeInit {
			st.Phase = v1alpha1.PhaseInitializing
		}
	}
	if d.Plan != nil {
		k.runTask(st.Plan, well)
	}
	st.ObservedGeneration = k.node.Generation
	return d
}

// runTask runs the current task: it is done, waits, or fails for now or for good.
func (k *walk) runTask(p *v1alpha1.Plan, well bool) {
	k.t.Helper()
	i, s := Current(p), testSettings()
	require.GreaterOrEqual(k.t, i, 0, "a plan that is gone on with has a task to run")
	if k.node.Spec.Paused && BeforeTemplate(p, i) && (p.Kind == v1alpha1.NodeInit || p.Kind == v1alpha1.NodeUpdate) {
		Park(p, i, "paused")
		return
	}
	Start(p, i, s, k.now)
	task := &p.Tasks[i]
	run := Run{Done: true}
	if !well {
		switch k.rand.IntN(12) {
		case 0:
			run = Run{Message: "not yet"}
		case 1:
			run = Run{Err: errors.New("for now")}
		case 2:
			run = Run{Err: errBroken, Terminal: true}
		case 3: // done, and nobody wrote it down
			k.work(p, task)
			task.Status, task.StartedAt, task.Deadline = v1alpha1.TaskPending, nil, nil
			return
		case 4: // the sidecar accepts mark-ready, and seid takes its time
			run.Done = task.Type != v1alpha1.TaskMarkReady
		}
	}
	if run.Done || run.Err == nil && run.Message == "" {
		run.Output = k.work(p, task)
	}
	released := PointOfNoReturn(p)
	switch Advance(p, i, run, s, k.now) {
	case StepFinished:
		k.ended(p, v1alpha1.PlanComplete)
	case StepFailed:
		k.failed(p, released)
	}
}

// work is what a task does to the node.
func (k *walk) work(p *v1alpha1.Plan, task *v1alpha1.Task) *v1alpha1.TaskOutput {
	k.t.Helper()
	st := &k.node.Status
	switch task.Type {
	case v1alpha1.TaskApplyStatefulSet:
		if p.Kind != v1alpha1.NodeRepair {
			k.apply(task.Params.StatefulSet, p.Target)
		}
	case v1alpha1.TaskReplacePod:
		if k.pod == k.template {
			break
		}
		k.deletes[p.ID]++
		require.Equal(k.t, 1, k.deletes[p.ID], "one pod cycle a plan: %s %s", p.Kind, p.ID)
		k.pod, k.parked = k.template, true
	case v1alpha1.TaskObserveImage:
		st.CurrentImage = p.Target.Image
	case v1alpha1.TaskObserveSidecarTLS:
		st.CurrentSidecarTLS = observed(p.Target.SidecarTLS)
	case v1alpha1.TaskMarkReady:
		require.Equal(k.t, templateOf(p.Target), k.revisions[k.pod], "%s %s lets a seid go that is not the one of its target", p.Kind, p.ID)
		k.parked = false
		return &v1alpha1.TaskOutput{Accepted: true}
	}
	k.objects = slices.DeleteFunc(k.objects, func(t v1alpha1.TaskType) bool { return t == task.Type })
	return nil
}

// template is what decides a pod: a certificate of another issuer comes in the same Secret.
type template struct{ image, secret string }

func templateOf(target v1alpha1.PlanTarget) template {
	t := template{image: target.Image}
	if tls := target.SidecarTLS; tls != nil {
		if t.secret = tls.SecretName; t.secret == "" {
			t.secret = "issued"
		}
	}
	return t
}

// apply makes a template the live one; the same template is the same revision.
func (k *walk) apply(params *v1alpha1.StatefulSetParams, target v1alpha1.PlanTarget) {
	k.template = slices.Index(k.revisions, templateOf(target))
	if params.FromRevision != "" {
		_, err := fmt.Sscanf(params.FromRevision, "r%d", &k.template)
		require.NoError(k.t, err)
		k.template--
	}
	if k.template < 0 {
		k.revisions = append(k.revisions, templateOf(target))
		k.template = len(k.revisions) - 1
	}
}

// ended is a plan that ended.
func (k *walk) ended(p *v1alpha1.Plan, outcome v1alpha1.PlanPhase) {
	k.t.Helper()
	st := &k.node.Status
	k.tell("%s %s %s", p.Kind, p.ID[:8], outcome)
	st.LastPlan = Summarize(p, outcome, "", k.now)
	if outcome != v1alpha1.PlanComplete {
		return
	}
	if p.Kind == v1alpha1.NodeRollback {
		require.Equal(k.t, p.Previous.ControllerRevision, k.revision(k.template), "a rollback returns to the previous template")
	}
	st.Plan, st.Phase = nil, p.TargetPhase
	if p.Kind == v1alpha1.NodeUpdate || p.Kind == v1alpha1.NodeInit {
		st.Hold = nil
	}
}

// failed is what a pass makes of a plan that failed.
func (k *walk) failed(p *v1alpha1.Plan, released bool) {
	k.t.Helper()
	in := k.input()
	after := AfterFailure(in, p)
	st := &k.node.Status
	k.tell("%s %s failed: rollback %t, hold %t, retry %v", p.Kind, p.ID[:8], after.Rollback != nil, after.Hold != nil, after.RetryAt)
	require.False(k.t, released && after.Rollback != nil, "nothing rolls back once seid was let go")
	require.False(k.t, after.Rollback != nil && p.Kind != v1alpha1.NodeUpdate, "only an update is rolled back")
	require.True(k.t, after.Rollback != nil || after.Hold != nil || after.RetryAt != nil, "a failed plan leads to something")
	if after.Rollback != nil {
		k.requirePlan(&in, after.Rollback)
		require.Equal(k.t, p.Previous, after.Rollback.Previous, "it returns to what was latched")
	}
	st.LastPlan = Summarize(p, v1alpha1.PlanFailed, "", k.now)
	if after.Hold != nil {
		st.Hold = after.Hold
	}
	switch {
	case after.Rollback != nil:
		st.Plan = after.Rollback
	case after.RetryAt != nil:
		at := metav1.NewMicroTime(*after.RetryAt)
		p.RetryAt = &at
	case p.Kind == v1alpha1.NodeInit:
		st.Phase = p.FailedPhase
	}
}

// recover has all go well and requires that the node comes to its spec.
func (k *walk) recover() {
	k.t.Helper()
	n := k.node
	n.Spec.Paused, k.sound = false, true
	n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = "in the end"
	k.edited("all goes well")
	for range 200 {
		k.now = k.now.Add(time.Minute)
		if d := k.step(true); d.Plan == nil && d.Idle == NotIdle && n.Status.Phase == v1alpha1.PhaseRunning && len(k.objects) == 0 {
			break
		}
	}
	want := drift.Target(n)
	require.Nil(k.t, n.Status.Plan, "no plan is left: %v", Describe(n.Status.Plan))
	require.Equal(k.t, want.Image, n.Status.CurrentImage)
	require.True(k.t, want.SidecarTLS.Equal(n.Status.CurrentSidecarTLS.Config()), "%v, wanted %v", n.Status.CurrentSidecarTLS, want)
	require.False(k.t, k.parked, "seid was let go")
	require.Equal(k.t, k.template, k.pod, "an eviction would bring nothing new")
	in := k.input()
	require.Nil(k.t, BuildRunningPlan(in), "no drift, no plan")
	require.Equal(k.t, Decision{}, Resolve(in, Options{}), "no drift, no plan")
}
