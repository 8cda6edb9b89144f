package plan

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
)

var update = flag.Bool("update", false, "write the golden transcripts anew")

// outcome is one scripted run of a task: what it took and brought.
type outcome struct {
	after time.Duration
	run   Run
}

func waits(after time.Duration, message string) outcome {
	return outcome{after, Run{Message: message}}
}

func done(after time.Duration, out *v1alpha1.TaskOutput) outcome {
	return outcome{after, Run{Done: true, Output: out}}
}

// scene drives the state machine through a plan and whatever follows it, as the engine does, with the results of the tasks
// from a script and a clock that moves by what they took. What it writes down is for reviewers.
type scene struct {
	t      *testing.T
	node   *v1alpha1.SeiNode
	now    time.Time
	script map[v1alpha1.TaskType][]outcome
	lines  []string
	plans  int
	// template and pod are the revisions of the world that the tasks work on.
	template, pod string
	revisions     int
	current       *certs.Verdict
	target        *certs.Verdict
}

func newScene(t *testing.T, n *v1alpha1.SeiNode) *scene {
	t.Helper()
	s := &scene{
		t: t, node: n, now: t0, template: "rev-1", pod: "rev-1", revisions: 1, script: map[v1alpha1.TaskType][]outcome{},
		current: &certs.Verdict{Ready: true},
	}
	s.say("node runs image %s, TLS %s", n.Status.CurrentImage, TLSText(n.Status.CurrentSidecarTLS.Config()))
	return s
}

func (s *scene) say(format string, args ...any) {
	d := s.now.Sub(t0)
	stamp := fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
	s.lines = append(s.lines, strings.TrimRight(stamp+"  "+fmt.Sprintf(format, args...), " "))
}

func (s *scene) edit(what string, change func(*v1alpha1.SeiNode)) {
	change(s.node)
	s.say("EDIT %s", what)
}

func (s *scene) input() Input {
	snap := live(s.template, s.pod)
	snap.CurrentVerdict, snap.TargetVerdict = s.current, s.target
	in := input(s.node, snap)
	in.Now, in.ID = s.now, fmt.Sprintf("00000000-0000-4000-8000-%012d", s.plans+1)
	in.Drift = drift.Evaluate(drift.Input{Node: s.node, Settings: in.Settings, Held: Held(s.node, snap)})
	return in
}

// settle runs until nothing is left to do or the node has to wait.
func (s *scene) settle() {
	for range 20 {
		in := s.input()
		d := Resolve(in, Options{})
		if d.Ended != nil {
			s.say("ENDED %s: superseded", d.Ended.Kind)
			s.node.Status.Plan = nil
		}
		if d.ClearHold {
			s.say("HOLD ends")
			s.node.Status.Hold = nil
		}
		switch {
		case d.Plan == nil && d.Idle == NotIdle:
			s.say("SETTLED: no plan is active or due")
			return
		case d.Plan == nil:
			s.say("IDLE %s: %s", d.Idle, d.Detail)
			return
		case d.New:
			s.begin(d.Plan)
		}
		s.run(s.node.Status.Plan)
	}
	s.t.Fatal("it does not settle:\n" + strings.Join(s.lines, "\n"))
}

func (s *scene) begin(p *v1alpha1.Plan) {
	s.plans++
	s.node.Status.Plan = p
	reason := ""
	if p.Kind == v1alpha1.NodeUpdate {
		reason = ", reason " + NodeUpdateReason(p.Causes)
	}
	s.say("PLAN attempt %d, previous revision %s%s", p.Attempt, p.Previous.ControllerRevision, reason)
	for _, l := range Describe(p) {
		s.say("  %s", l)
	}
}

func (s *scene) run(p *v1alpha1.Plan) {
	set := testSettings()
	for {
		i := Current(p)
		t := &p.Tasks[i]
		if t.Status == v1alpha1.TaskPending {
			Start(p, i, set, s.now)
			s.say("%s: started, %s to go", t.Type, t.Deadline.Sub(s.now))
		}
		o := s.next(t)
		s.now = s.now.Add(o.after)
		step := Advance(p, i, o.run, set, s.now)
		switch {
		case t.Status == v1alpha1.TaskComplete:
			s.say("%s: done%s", t.Type, s.stamp(p, t))
		case t.Status == v1alpha1.TaskRunning && o.run.Err != nil:
			s.say("%s: error, tried again: %s", t.Type, t.Error)
		case t.Status == v1alpha1.TaskRunning:
			s.say("%s: waits: %s", t.Type, t.Message)
		case t.Status == v1alpha1.TaskSkipped:
			s.say("%s: SKIPPED, only warns: %s", t.Type, t.Error)
		}
		switch step {
		case StepFinished:
			s.finish(p)
			return
		case StepFailed:
			s.fail(p)
			return
		}
	}
}

// next takes the next result off the script; a task without one is done after a second.
func (s *scene) next(t *v1alpha1.Task) outcome {
	o := done(time.Second, nil)
	if list := s.script[t.Type]; len(list) > 0 {
		o, s.script[t.Type] = list[0], list[1:]
	}
	if !o.run.Done {
		return o
	}
	switch t.Type {
	case v1alpha1.TaskApplyStatefulSet:
		s.template = t.Params.StatefulSet.FromRevision
		if s.template == "" {
			s.revisions++
			s.template = fmt.Sprintf("rev-%d", s.revisions)
		}
	case v1alpha1.TaskReplacePod:
		s.pod = s.template
	}
	return o
}

// stamp records what an observer saw, as the engine does.
func (s *scene) stamp(p *v1alpha1.Plan, t *v1alpha1.Task) string {
	st := &s.node.Status
	switch t.Type {
	case v1alpha1.TaskApplyStatefulSet:
		return ", template is " + s.template
	case v1alpha1.TaskReplacePod:
		return ", pod is " + s.pod
	case v1alpha1.TaskObserveImage:
		st.CurrentImage = p.Target.Image
		return ", STAMP currentImage " + st.CurrentImage
	case v1alpha1.TaskObserveSidecarTLS:
		st.CurrentSidecarTLS = observed(p.Target.SidecarTLS)
		return ", STAMP currentSidecarTLS " + TLSText(st.CurrentSidecarTLS.Config())
	}
	return ""
}

func (s *scene) finish(p *v1alpha1.Plan) {
	s.say("COMPLETE %s (%s)", p.Kind, Classify(p.Kind, p.Causes))
	s.node.Status.Plan = nil
	if p.Kind == v1alpha1.NodeUpdate {
		s.node.Status.Hold = nil
	}
}

func (s *scene) fail(p *v1alpha1.Plan) {
	after := AfterFailure(s.input(), p)
	s.say("FAILED %s: %s", p.Kind, p.FailedTaskDetail)
	if after.Hold != nil {
		s.node.Status.Hold = after.Hold
		s.say("HOLD image %s, TLS %s: %s", after.Hold.Target.Image, TLSText(after.Hold.Target.SidecarTLS), after.Hold.Reason)
	}
	switch {
	case after.Rollback != nil:
		s.begin(after.Rollback)
	case after.RetryAt != nil:
		at := microTime(*after.RetryAt)
		p.RetryAt = &at
	}
}

// golden compares the transcript with the file named like the test.
func (s *scene) golden(name string) {
	s.t.Helper()
	st := s.node.Status
	s.say("status: image %s, TLS %s, template %s, pod %s, held %t", st.CurrentImage,
		TLSText(st.CurrentSidecarTLS.Config()), s.template, s.pod, st.Hold != nil)
	got := strings.Join(s.lines, "\n") + "\n"
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(s.t, os.MkdirAll("testdata", 0o755))
		require.NoError(s.t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(s.t, err, "run with -update to write it")
	require.Equal(s.t, string(want), got, "run with -update if that is meant")
}

var accepted = &v1alpha1.TaskOutput{Accepted: true}

func TestGoldenEnable(t *testing.T) {
	s := newScene(t, runningNode(nil))
	s.script[v1alpha1.TaskWaitForSidecarTLSSecret] = []outcome{
		waits(0, "Secret sei/n0-sidecar-tls does not exist; the Certificate is being issued"), done(2*time.Second, nil),
	}
	s.script[v1alpha1.TaskReplacePod] = []outcome{waits(0, "pod sei/n0-0 is being replaced"), done(9*time.Second, nil)}
	s.script[v1alpha1.TaskMarkReady] = []outcome{
		{time.Second, Run{Output: accepted, Message: "the sidecar accepted mark-ready; waiting for its health"}}, done(4*time.Second, accepted),
	}
	s.edit("spec.sidecar.tls: issuer a", func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("a") })
	s.settle()
	s.golden("enable")
}

func TestGoldenIssuerSwap(t *testing.T) {
	s := newScene(t, runningNode(issuerTLS("a")))
	s.script[v1alpha1.TaskWaitForSidecarTLSSecret] = []outcome{
		waits(0, "Secret sei/n0-sidecar-tls is of ClusterIssuer/a, not of ClusterIssuer/b"), done(2*time.Second, nil),
	}
	s.script[v1alpha1.TaskObserveSidecarTLS] = []outcome{
		waits(0, "the proxy still serves the old certificate"), done(83*time.Second, nil),
	}
	s.edit("spec.sidecar.tls: issuer b", func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("b") })
	s.settle()
	s.golden("issuer-swap")
}

func TestGoldenImageAndTLS(t *testing.T) {
	s := newScene(t, runningNode(nil))
	s.target = &certs.Verdict{Message: "Secret sei/pair does not exist"}
	s.edit("spec.image: seid:v2, spec.sidecar.tls: Secret pair", func(n *v1alpha1.SeiNode) {
		n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", secretTLS("pair")
	})
	s.settle()
	s.now = s.now.Add(time.Minute)
	s.target = &certs.Verdict{Ready: true, SecretSHA256: "sha-1"}
	s.say("WORLD Secret pair is there and sound")
	s.settle()
	s.golden("image-and-tls")
}

func TestGoldenRemoval(t *testing.T) {
	s := newScene(t, runningNode(issuerTLS("a")))
	s.script[v1alpha1.TaskDeleteSidecarCert] = []outcome{
		{0, Run{Err: errors.New("the API server is away")}},
		{3 * time.Minute, Run{Err: errors.New("the API server is away")}},
	}
	s.edit("spec.sidecar.tls taken out", func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = nil })
	for _, w := range s.input().Drift.Warnings {
		s.say("WARNING %s", w)
	}
	s.settle()
	s.edit("the annotation consents", func(n *v1alpha1.SeiNode) { consent(n) })
	s.settle()
	s.golden("removal")
}

func TestGoldenRollback(t *testing.T) {
	s := newScene(t, runningNode(nil))
	s.script[v1alpha1.TaskObserveSidecarTLS] = []outcome{
		waits(5*time.Minute, "container kube-rbac-proxy of pod sei/n0-0 is in CrashLoopBackOff"),
		waits(time.Second, "container kube-rbac-proxy of pod sei/n0-0 is in CrashLoopBackOff"),
	}
	s.edit("spec.sidecar.tls: issuer a", func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("a") })
	s.settle()
	s.edit("sei.io/retry-requested-at", func(n *v1alpha1.SeiNode) {
		n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = "2026-01-02T03:30:00Z"
	})
	s.settle()
	s.golden("failed-proxy")
}

func TestGoldenMissingIssuer(t *testing.T) {
	s := newScene(t, runningNode(issuerTLS("a")))
	const pending = `CertificateRequest n0-sidecar-tls-2 is Pending: Referenced "ClusterIssuer" not found: clusterissuer "typo" not found`
	s.script[v1alpha1.TaskWaitForSidecarTLSSecret] = []outcome{
		waits(0, pending), waits(5*time.Minute+time.Second, pending), waits(0, pending), waits(5*time.Minute+time.Second, pending),
	}
	s.edit("spec.sidecar.tls: issuer typo", func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("typo") })
	s.settle()
	s.now = s.node.Status.Plan.RetryAt.Time
	s.settle()
	s.edit("spec.sidecar.tls: issuer b", func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("b") })
	s.settle()
	s.golden("missing-issuer")
}
