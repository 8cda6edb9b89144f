package sim

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a kubelet does with a container that ends again and again.
const (
	firstBackOff = 10 * time.Second
	maxBackOff   = 5 * time.Minute
	// calm is how long a container has to run for its crashes to be forgotten.
	calm = 10 * time.Minute
)

// container is a container of a pod. All fields but the first four are under the pod's lock.
type container struct {
	pod  *pod
	spec corev1.Container
	// init containers run before the others; those that stay are native sidecars.
	init, stays bool

	state    corev1.ContainerState
	last     corev1.ContainerState
	id       string
	restarts int32
	// crashes are the ends in a row; retryAt is when the next start is due.
	crashes int
	retryAt time.Time
	run     *process
	// started and ready are what the probes say.
	started, ready bool
	probes         probes
}

// process is one run of a container.
type process struct {
	since time.Time
	// term is the SIGTERM, killed the SIGKILL; done is closed when it has ended.
	term   context.CancelFunc
	killed chan struct{}
	done   chan struct{}
}

// exitError ends a process with an exit code of its own.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// start starts the container; the caller holds the pod's lock.
func (c *container) start(now time.Time) {
	ctx, term := context.WithCancel(context.Background())
	r := &process{since: now, term: term, killed: make(chan struct{}), done: make(chan struct{})}
	if t := c.state.Terminated; t != nil {
		c.last = corev1.ContainerState{Terminated: t}
		c.restarts++
	}
	c.run, c.id, c.started, c.ready = r, newID(), false, false
	c.probes = probes{}
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}}
	files := c.pod.volumes
	go func() {
		err := c.pod.sim.execute(ctx, c, r, files)
		term()
		c.pod.mu.Lock()
		c.exited(err, r, time.Now())
		c.pod.mu.Unlock()
		close(r.done)
		c.pod.change()
	}()
}

// exited notes how the run ended; the caller holds the pod's lock.
func (c *container) exited(err error, r *process, now time.Time) {
	t := &corev1.ContainerStateTerminated{
		Reason: "Completed", StartedAt: metav1.NewTime(r.since), FinishedAt: metav1.NewTime(now), ContainerID: c.id,
	}
	var code exitError
	select {
	case <-r.killed:
		t.ExitCode, t.Reason = 137, "Error"
	default:
		switch {
		case errors.As(err, &code):
			t.ExitCode, t.Reason = int32(code), "Error"
		case err != nil:
			t.ExitCode, t.Reason = 1, "Error"
			c.pod.sim.log.Info("container ended", "pod", c.pod.key(), "container", c.spec.Name, "error", err)
		}
	}
	c.state = corev1.ContainerState{Terminated: t}
	c.run, c.started, c.ready = nil, false, false
	if now.Sub(r.since) >= calm {
		c.crashes = 0
	}
	c.crashes++
	c.retryAt = now
	if c.crashes > 1 {
		c.retryAt = now.Add(c.backOff())
	}
}

// backOff is the pause before the next start.
func (c *container) backOff() time.Duration {
	if c.crashes < 2 {
		return 0
	}
	return min(firstBackOff<<min(c.crashes-2, 10), maxBackOff)
}

// finished says whether an init container has done its work.
func (c *container) finished() bool {
	return c.init && !c.stays && c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
}

// ensure starts the container when it should run and does not; it returns when that is to be tried again. The caller holds
// the pod's lock.
func (c *container) ensure(now time.Time) (again time.Time) {
	if c.run != nil {
		return time.Time{}
	}
	if !pullable(c.spec.Image) {
		c.waitsForImage()
		return time.Time{}
	}
	if c.crashed() && now.Before(c.retryAt) {
		if c.state.Terminated != nil {
			c.last = corev1.ContainerState{Terminated: c.state.Terminated}
			message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
				c.backOff(), c.spec.Name, c.pod.obj.Name, c.pod.obj.Namespace, c.pod.obj.UID)
			c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: message}}
			c.pod.warn("BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)",
				c.spec.Name, c.pod.obj.Name, c.pod.obj.Namespace, c.pod.obj.UID)
		}
		return c.retryAt
	}
	if c.state.Terminated == nil && c.last.Terminated != nil {
		c.state = c.last // out of back-off
	}
	c.start(now)
	return time.Time{}
}

func (c *container) crashed() bool {
	return c.state.Terminated != nil || c.state.Waiting != nil && c.state.Waiting.Reason == "CrashLoopBackOff"
}

// waitsForImage says so, once.
func (c *container) waitsForImage() {
	const reason = "ImagePullBackOff"
	if c.state.Waiting != nil && c.state.Waiting.Reason == reason {
		return
	}
	cause := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference %q: %s: not found",
		c.spec.Image, c.spec.Image, c.spec.Image)
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: reason, Message: fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", c.spec.Image, cause),
	}}
	c.pod.warn("Failed", "Failed to pull image %q: %s", c.spec.Image, cause)
	c.pod.warn("Failed", "Error: ErrImagePull")
}

// stop ends the run: SIGTERM, and SIGKILL when the deadline has passed. It returns when the process is gone.
func (r *process) stop(deadline func() (time.Time, <-chan struct{})) {
	r.term()
	for {
		at, changed := deadline()
		timer := time.NewTimer(time.Until(at))
		select {
		case <-r.done:
			timer.Stop()
			return
		case <-changed:
			timer.Stop()
		case <-timer.C:
			close(r.killed)
			<-r.done
			return
		}
	}
}

// newID is an id of a container, as a runtime makes them.
func newID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return "sim://" + hex.EncodeToString(b)
}
