//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/settings"
)

// benchAgent is who the engine is in the audit log.
const benchAgent = "seictl-bench/toggle"

// TestBenchToggle turns TLS on and off, BENCH_TOGGLES times, and says what that cost; only when that is set. `make bench` runs
// it and keeps the results in the file BENCH_JSON.
func TestBenchToggle(t *testing.T) {
	if os.Getenv("BENCH_TOGGLES") == "" {
		t.Skip("BENCH_TOGGLES is not set")
	}
	s := newS(t, newEnv(t), "bench")
	n := s.running()
	b := s.drivenInProcess(n)
	var all []toggled
	for i := range number(s, "BENCH_TOGGLES", 20) {
		got := b.toggle(i%2 == 0)
		s.Logf("%+v", got)
		all = append(all, got)
	}
	r := summary(s, all)
	if path := os.Getenv("BENCH_GO"); path != "" {
		r.Benchmarks = goBenchmarks(s, path)
	}
	r.print(os.Stdout)
	if path := os.Getenv("BENCH_JSON"); path != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		require.NoError(s, err)
		require.NoError(s, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(s, os.WriteFile(path, append(data, '\n'), 0o644))
	}
}

// toggled is what one toggle cost.
type toggled struct {
	On bool `json:"on"`
	// Total is from the arrival of the edit to the last write, Overhead the part in which everything that the engine waited
	// for had arrived, and Wire the part of that in which it asked a sidecar that was not listening yet.
	Total    time.Duration `json:"totalNanoseconds"`
	Overhead time.Duration `json:"overheadNanoseconds"`
	Wire     time.Duration `json:"wireNanoseconds"`
	// NotReady is how long the node had no pod that was Ready: until the old one was gone and the new one there, its proxy or
	// sidecar ran, mark-ready was accepted, and it was Ready.
	NotReady time.Duration    `json:"notReadyNanoseconds"`
	Phases   [4]time.Duration `json:"notReadyPhasesNanoseconds"`
	// Requests to the API server, without watches, lists, the Lease, discovery and events; Patches of the status among them.
	Requests []string `json:"requests"`
	Patches  int      `json:"statusPatches"`
}

// bench drives one node in this process, so that it can be seen when an event arrives.
type bench struct {
	s       *S
	n       *Node
	tap     *tap
	updates chan driven
}

// driven is a pass and when it ended.
type driven struct {
	at time.Time
	operator.NodeUpdate
}

// drivenInProcess drives a node until the scenario ends.
func (s *S) drivenInProcess(n *Node) *bench {
	s.Helper()
	b := &bench{s: s, n: n, tap: &tap{}, updates: make(chan driven, 1000)}
	cfg := rest.CopyConfig(s.config)
	cfg.UserAgent = benchAgent
	cfg.Wrap(b.tap.wrap)
	l, err := lock.NewForConfig(s.config, lock.Self(lock.KindCLI), lock.Options{})
	require.NoError(s, err)
	held, err := l.Acquire(s.Context(), lock.AcquireOptions{Timeout: time.Minute})
	require.NoError(s, err)
	var cm corev1.ConfigMap
	require.NoError(s, s.client.Get(s.Context(), types.NamespacedName{Namespace: settings.Namespace, Name: settings.ConfigMapName}, &cm))
	platform, err := settings.Parse(cm.Data)
	require.NoError(s, err)
	ctx, stop := context.WithCancel(held.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := operator.Drive(ctx, operator.DriveOptions{
			Config: cfg, Nodes: []types.NamespacedName{{Namespace: s.ns, Name: n.name}}, Settings: platform,
			OnUpdate: func(u operator.NodeUpdate) { b.updates <- driven{at: time.Now(), NodeUpdate: u} },
		})
		if err != nil && ctx.Err() == nil {
			s.Errorf("driving: %v", err)
		}
	})
	s.Cleanup(func() {
		stop()
		wg.Wait()
		require.NoError(s, held.Release(background()))
	})
	b.settled(0)
	return b
}

// settled collects the passes until nothing is due at a generation any more.
func (b *bench) settled(generation int64) (passes []driven) {
	b.s.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case u := <-b.updates:
			require.NoError(b.s, u.Err)
			passes = append(passes, u)
			if o := &u.Outcome; o.Settled && !o.Changed && o.RequeueAfter != -1 && u.Node.Status.ObservedGeneration >= generation && isReady(u.Node) {
				return passes
			}
		case <-deadline.C:
			require.Fail(b.s, "the node does not settle", "%+v", b.n.get().Status)
		}
	}
}

// toggle turns TLS on or off.
func (b *bench) toggle(on bool) toggled {
	b.s.Helper()
	before, pod := b.n.get(), b.n.pod()
	b.tap.take(b.s.ns)
	offset := b.s.auditSize()
	b.n.edit(func(o *v1alpha1.SeiNode) {
		o.Spec.Sidecar = &v1alpha1.SidecarConfig{}
		if on {
			o.Spec.Sidecar.TLS = byIssuer(issuerA)
		} else {
			metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1alpha1.AnnotationAllowTLSRemoval, "true")
		}
	})
	passes := b.settled(before.Generation + 1)
	node := b.n.get()
	require.Equal(b.s, on, node.Status.CurrentSidecarTLS != nil)
	require.NotEqual(b.s, before.Status.LastPlan.ID, node.Status.LastPlan.ID)
	t := &timeline{on: on, generation: before.Generation + 1, name: b.n.name, pod: pod.UID, passes: passes, events: b.tap.take(b.s.ns)}
	out := t.toggled()
	require.NoError(b.s, b.s.readAudit(offset, benchAgent, func(a *audited) {
		if !strings.HasPrefix(a.UserAgent, benchAgent) || slices.Contains([]string{"watch", "list"}, a.Verb) ||
			slices.Contains([]string{"leases", "events"}, a.ObjectRef.Resource) {
			return
		}
		what := strings.TrimSuffix(a.ObjectRef.Resource+"/"+a.ObjectRef.Subresource, "/")
		out.Requests = append(out.Requests, a.Verb+" "+what+" "+strconv.Itoa(a.ResponseStatus.Code))
		if a.Verb == "patch" && what == "seinodes/status" {
			out.Patches++
		}
	}))
	return out
}

// timeline is what happened in a toggle, and when.
type timeline struct {
	on         bool
	generation int64
	name       string
	pod        types.UID // of the old pod
	passes     []driven
	events     []watched
}

// toggled measures. What the engine waits for are the waits below, each from the moment it had nothing else to do to the
// arrival of the event that let it go on; everything else is its own.
func (t *timeline) toggled() toggled {
	begun := first(t.events, func(w *watched) bool {
		return w.Object.Kind == "SeiNode" && w.Object.Metadata.Generation == t.generation
	})
	var end time.Time
	for _, p := range t.passes {
		if p.Outcome.Changed && p.Node.Status.LastPlan != nil && p.Node.Status.Plan == nil {
			end = p.at
			break
		}
	}
	out := toggled{On: t.on, Total: end.Sub(begun)}
	waited := time.Duration(0)
	wait := func(from, until time.Time) {
		if !from.IsZero() && until.After(from) {
			waited += until.Sub(from)
		}
	}
	if t.on {
		wait(t.task(v1alpha1.TaskWaitForSidecarTLSSecret).from, t.issued())
	}
	replace, observe := t.task(v1alpha1.TaskReplacePod), t.task(v1alpha1.TaskObserveSidecarTLS)
	wait(replace.from, t.revised())
	wait(t.deleted(), t.podIs(func(*watched) bool { return true }))
	up := t.podIs(func(w *watched) bool { return w.Object.Status.running(t.container()) })
	wait(observe.from, up)
	wait(t.accepted(), t.podIs(func(w *watched) bool { return w.Object.Status.condition("Ready", 0) == "True" }))
	out.Overhead = out.Total - waited
	if from := latest(observe.from, up); observe.until.After(from) {
		out.Wire = observe.until.Sub(from)
	}
	away := first(t.events, func(w *watched) bool {
		return w.Object.Kind == "Pod" && w.Object.Metadata.UID == t.pod &&
			(w.Object.Metadata.DeletionTimestamp != nil || w.Object.Status.condition("Ready", 0) == "False")
	})
	ready := t.podIs(func(w *watched) bool { return w.Object.Status.condition("Ready", 0) == "True" })
	out.NotReady = ready.Sub(away)
	last := away
	for i, at := range []time.Time{t.podIs(func(*watched) bool { return true }), up, t.accepted(), ready} {
		out.Phases[i], last = at.Sub(last), at
	}
	return out
}

// container is the one whose start lets the observer go on.
func (t *timeline) container() string {
	if t.on {
		return proxy
	}
	return sidecar
}

type span struct{ from, until time.Time }

// task is when a task ran, as the passes noted it.
func (t *timeline) task(kind v1alpha1.TaskType) (out span) {
	for _, p := range t.passes {
		if p.Node == nil {
			continue
		}
		task := p.Node.Status.Plan.Task(kind)
		if task != nil && task.StartedAt != nil {
			out.from = task.StartedAt.Time
		}
		if task != nil && task.FinishedAt != nil {
			out.until = task.FinishedAt.Time
		}
	}
	return out
}

// issued is when both the Certificate that is Ready and its Secret had arrived.
func (t *timeline) issued() time.Time {
	ready := first(t.events, func(w *watched) bool {
		s := &w.Object.Status
		return w.Object.Kind == "Certificate" && s.condition("Ready", w.Object.Metadata.Generation) == "True" && s.condition("Issuing", 0) != "True"
	})
	secret := first(t.events, func(w *watched) bool {
		return w.Object.Kind == "PartialObjectMetadata" && w.Object.Metadata.Name == t.name+"-sidecar-tls" && w.Type != "DELETED"
	})
	return latest(ready, secret)
}

// revised is when the StatefulSet with the new template and its revision had arrived.
func (t *timeline) revised() time.Time {
	old := ""
	return first(t.events, func(w *watched) bool {
		if w.Object.Kind != "StatefulSet" {
			return false
		}
		if old == "" {
			old = w.Object.Status.UpdateRevision
		}
		return w.Object.Status.ObservedGeneration == w.Object.Metadata.Generation && w.Object.Status.UpdateRevision != old
	})
}

// deleted is when the engine had deleted the old pod and had nothing else to do.
func (t *timeline) deleted() time.Time {
	for _, p := range t.passes {
		if p.Node == nil {
			continue
		}
		if task := p.Node.Status.Plan.Task(v1alpha1.TaskReplacePod); task != nil && task.Output != nil && task.Output.PodUID == string(t.pod) {
			return p.at
		}
	}
	return time.Time{}
}

// accepted is when the sidecar had mark-ready.
func (t *timeline) accepted() time.Time {
	for _, p := range t.passes {
		if p.Node == nil {
			continue
		}
		if task := p.Node.Status.Plan.Task(v1alpha1.TaskMarkReady); task != nil && task.Output != nil && task.Output.Accepted {
			return p.at
		}
	}
	return time.Time{}
}

// podIs is when the new pod arrived in a state.
func (t *timeline) podIs(check func(*watched) bool) time.Time {
	return first(t.events, func(w *watched) bool {
		return w.Object.Kind == "Pod" && w.Object.Metadata.Name == t.name+"-0" && w.Object.Metadata.UID != t.pod && check(w)
	})
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// median of durations or numbers.
func median[T ~int | ~int64](values []T) T {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
