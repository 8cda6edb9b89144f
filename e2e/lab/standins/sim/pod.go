package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A kubelet tries a mount again after the first of these, doubling to the second.
const (
	mountBackOff    = 500 * time.Millisecond
	maxMountBackOff = 2*time.Minute + 2*time.Second
)

// pod is one pod on one of the nodes. One goroutine runs it, and sleeps while nothing changes.
type pod struct {
	sim *Simulator
	// obj is the pod as it was when it came; its containers do not change.
	obj *corev1.Pod

	mu         sync.Mutex
	containers []*container // in the order in which they start
	volumes    map[string]*volume
	net        *network
	begun      metav1.Time
	// generation is the newest of the object.
	generation int64
	// version grows with every change in the pod; changed is closed at the next.
	version int
	changed chan struct{}
	// stopBy is set when the pod is being deleted; gone when the object is.
	stopBy *time.Time
	gone   bool
	ended  bool
	// told is the status that the API server has.
	told *corev1.PodStatus
}

func (s *Simulator) newPod(obj *corev1.Pod) *pod {
	p := &pod{sim: s, obj: obj, changed: make(chan struct{}), generation: obj.Generation}
	for _, spec := range obj.Spec.InitContainers {
		stays := spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
		p.containers = append(p.containers, &container{pod: p, spec: spec, init: true, stays: stays})
	}
	for _, spec := range obj.Spec.Containers {
		p.containers = append(p.containers, &container{pod: p, spec: spec})
	}
	// After a restart of the simulator: what ran has ended with it.
	for _, c := range p.containers {
		statuses := slices.Concat(obj.Status.InitContainerStatuses, obj.Status.ContainerStatuses)
		i := slices.IndexFunc(statuses, func(st corev1.ContainerStatus) bool { return st.Name == c.spec.Name })
		if i < 0 || statuses[i].ContainerID == "" {
			continue
		}
		c.restarts = statuses[i].RestartCount
		c.state = statuses[i].State
		c.id = statuses[i].ContainerID
		if r := c.state.Running; r != nil {
			c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: 137, Reason: "Error", StartedAt: r.StartedAt, FinishedAt: metav1.Now(), ContainerID: c.id,
			}}
		}
	}
	return p
}

func (p *pod) key() string { return p.obj.Namespace + "/" + p.obj.Name }

// change wakes the pod, and everybody who waits for something in it.
func (p *pod) change() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changeLocked()
}

func (p *pod) changeLocked() {
	p.version++
	close(p.changed)
	p.changed = make(chan struct{})
}

// watch returns a channel that is closed at the next change. Take it before looking at what is waited for.
func (p *pod) watch() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// update takes over what of an object may change.
func (p *pod) update(obj *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation = obj.Generation
	if obj.DeletionTimestamp == nil {
		return
	}
	grace := time.Duration(0)
	if s := obj.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	// The timestamp has whole seconds; the grace counts from now on.
	by := time.Now().Add(grace)
	if p.stopBy == nil || by.Before(*p.stopBy) {
		p.stopBy = &by
		p.changeLocked()
	}
}

// vanished notes that the object is gone: whatever still runs is killed.
func (p *pod) vanished() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.gone, p.stopBy = true, &now
	p.changeLocked()
}

// deadline is when the pod must have stopped.
func (p *pod) deadline() (time.Time, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.stopBy, p.changed
}

func (p *pod) stopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopBy != nil
}

// live runs the pod from its arrival on the node to its end.
func (p *pod) live(ctx context.Context) {
	defer p.end()
	p.sim.publish(p)
	if !p.mount(ctx) {
		return
	}
	ip, err := p.sim.addresses.take(p.obj.Status.PodIP)
	if err != nil {
		p.warn("FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
		return
	}
	defer p.sim.addresses.free(ip)
	p.mu.Lock()
	p.net = newNetwork(ip)
	p.mu.Unlock()
	for {
		changed := p.watch()
		if p.stopping() {
			p.stop()
			return
		}
		again := p.step(time.Now())
		p.sim.publish(p)
		if !p.await(ctx, changed, again) {
			p.vanished() // as with a machine that is switched off
			p.stop()
			return
		}
	}
}

// await waits for a change, or a time when there is one.
func (p *pod) await(ctx context.Context, changed <-chan struct{}, at time.Time) bool {
	var due <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-due:
	}
	return true
}

// mount waits until every volume is there; false when the pod goes before.
func (p *pod) mount(ctx context.Context) bool {
	for pause := mountBackOff; ; pause = min(2*pause, maxMountBackOff) {
		if p.stopping() || ctx.Err() != nil {
			return false
		}
		volumes, err := p.sim.mount(ctx, p.obj)
		if err == nil {
			p.mu.Lock()
			p.volumes = volumes
			p.begun = metav1.Now()
			p.mu.Unlock()
			return true
		}
		p.warn("FailedMount", "%v", err)
		for again := time.Now().Add(pause); time.Now().Before(again) && !p.stopping(); {
			if !p.await(ctx, p.watch(), again) {
				return false
			}
		}
	}
}

// step starts what may start now and asks the probes; it returns when it is to be called again, if nothing changes.
func (p *pod) step(now time.Time) (again time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sooner := func(t time.Time) {
		if !t.IsZero() && (again.IsZero() || t.Before(again)) {
			again = t
		}
	}
	for _, c := range p.containers {
		if c.finished() {
			continue
		}
		sooner(c.ensure(now))
		sooner(c.probe(now))
		if c.init && (!c.stays || !c.started) {
			break // the next ones wait for it
		}
	}
	return again
}

// stop stops the containers: the main ones first, then native sidecars, the last one first.
func (p *pod) stop() {
	p.mu.Lock()
	var mains, sidecars []*process
	for _, c := range p.containers {
		switch {
		case c.run == nil:
		case c.stays:
			sidecars = append(sidecars, c.run)
		default:
			mains = append(mains, c.run)
		}
	}
	p.mu.Unlock()
	var all sync.WaitGroup
	for _, r := range mains {
		all.Go(func() { r.stop(p.deadline) })
	}
	all.Wait()
	for _, r := range slices.Backward(sidecars) {
		r.stop(p.deadline)
	}
}

// end has the API server told that nothing of the pod is left.
func (p *pod) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.sim.publish(p)
}

// warn records an event about the pod.
func (p *pod) warn(reason, format string, args ...any) {
	p.sim.events.Event(p.obj, corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...))
}

// mounts says whether the pod mounts a Secret or ConfigMap.
func (p *pod) mounts(kind, name string) bool {
	return slices.ContainsFunc(p.obj.Spec.Volumes, func(v corev1.Volume) bool {
		return kind == "secret" && v.Secret != nil && v.Secret.SecretName == name ||
			kind == "configmap" && v.ConfigMap != nil && v.ConfigMap.Name == name
	})
}

// refill brings the files of the pod's volumes up to date; what cannot be read stays as it is.
func (p *pod) refill(ctx context.Context) {
	p.mu.Lock()
	volumes := p.volumes
	p.mu.Unlock()
	changed := false
	for _, v := range volumes {
		if v.files.Load() == nil {
			continue
		}
		next := &volume{source: v.source}
		if err := p.sim.fill(ctx, p.obj.Namespace, next); err != nil || next.same(v) {
			continue
		}
		v.files.Store(next.files.Load())
		changed = true
	}
	if changed {
		p.change()
	}
}
