package sim

import (
	"cmp"
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probes is what the probes of a container found in its current run. They are asked when something in the pod changes, not
// all the time: what they would say in between is what they said.
type probes struct {
	// asked is the pod's version at the last time; asking while an answer is awaited, which may take its time.
	asked  int
	asking bool
	// startup, liveness and readiness are the last answers.
	startup, liveness, readiness bool
	// unlive and unready are since when an answer is bad.
	unlive, unready time.Time
}

// probe draws the conclusions from the answers so far and asks again if something changed; it returns when a bad answer
// will have lasted too long. The caller holds the pod's lock.
func (c *container) probe(now time.Time) (again time.Time) {
	if c.run == nil {
		return time.Time{}
	}
	if c.probes.asked != c.pod.version && !c.probes.asking {
		c.ask()
	}
	if !c.started && (c.spec.StartupProbe == nil || c.probes.startup) {
		c.started = true
	}
	if !c.started {
		if spec := c.spec.StartupProbe; tolerance(spec) < time.Hour {
			return c.unlessGood(c.run.since, spec, now)
		}
		return time.Time{}
	}
	if spec := c.spec.LivenessProbe; spec != nil && !c.probes.unlive.IsZero() {
		again = c.unlessGood(c.probes.unlive, spec, now)
	}
	spec := c.spec.ReadinessProbe
	switch {
	case spec == nil || c.probes.readiness:
		c.ready = true
	case c.ready:
		if until := c.probes.unready.Add(tolerance(spec)); !now.Before(until) {
			c.ready = false
		} else if again.IsZero() || until.Before(again) {
			again = until
		}
	}
	return again
}

// unlessGood restarts the container when a probe has been bad for too long, and returns when that will be.
func (c *container) unlessGood(since time.Time, spec *corev1.Probe, now time.Time) time.Time {
	until := since.Add(tolerance(spec))
	if now.Before(until) {
		return until
	}
	c.pod.warn("Unhealthy", "Container %s failed its probe, will be restarted", c.spec.Name)
	r, grace := c.run, now.Add(30*time.Second)
	if s := c.pod.obj.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = now.Add(time.Duration(*s) * time.Second)
	}
	c.probes.unlive = time.Time{}
	go r.stop(func() (time.Time, <-chan struct{}) { return grace, nil })
	return time.Time{}
}

// tolerance is how long a probe may fail.
func tolerance(spec *corev1.Probe) time.Duration {
	return time.Duration(max(spec.PeriodSeconds, 1)) * time.Duration(max(spec.FailureThreshold, 1)) * time.Second
}

// ask asks all probes of the current run, beside the pod's goroutine. The caller holds the pod's lock.
func (c *container) ask() {
	r, net := c.run, c.pod.net
	c.probes.asked, c.probes.asking = c.pod.version, true
	if c.spec.StartupProbe == nil && c.spec.LivenessProbe == nil && c.spec.ReadinessProbe == nil {
		c.probes.asking = false
		return
	}
	go func() {
		startup := c.answer(net, c.spec.StartupProbe)
		liveness := c.answer(net, c.spec.LivenessProbe)
		readiness := c.answer(net, c.spec.ReadinessProbe)
		c.pod.mu.Lock()
		defer c.pod.mu.Unlock()
		if c.run != r {
			return
		}
		now, stale := time.Now(), c.probes.asked != c.pod.version
		c.probes.asking = false
		before := c.probes
		c.probes.startup, c.probes.liveness, c.probes.readiness = startup, liveness, readiness
		c.probes.unlive = badSince(before.unlive, liveness || !c.started, now)
		c.probes.unready = badSince(before.unready, readiness, now)
		switch {
		case stale: // something changed while it was asked
			c.pod.changeLocked()
		case c.probes != before:
			c.pod.answered()
		}
	}()
}

// answered has the pod look at new answers, without asking again: nothing else has changed. The caller holds the lock.
func (p *pod) answered() {
	before := p.version
	p.changeLocked()
	for _, c := range p.containers {
		if c.probes.asked == before {
			c.probes.asked = p.version
		}
	}
}

func badSince(since time.Time, good bool, now time.Time) time.Time {
	switch {
	case good:
		return time.Time{}
	case since.IsZero():
		return now
	}
	return since
}

// answer makes one probe; one that is not there is always content.
func (c *container) answer(net *network, spec *corev1.Probe) bool {
	switch {
	case spec == nil:
		return true
	case spec.TCPSocket != nil:
		p := net.at(c.port(spec.TCPSocket.Port))
		return p != nil && p.loopback == nil
	case spec.HTTPGet != nil:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(max(spec.TimeoutSeconds, 1))*time.Second)
		defer cancel()
		get := spec.HTTPGet
		answer, err := net.get(ctx, c.port(get.Port), strings.ToLower(string(cmp.Or(get.Scheme, corev1.URISchemeHTTP))), net.ip, get.Path)
		return err == nil && answer.Code >= 200 && answer.Code < 400
	case spec.Exec != nil:
		// The only command there is: whether seid has caught up.
		return caughtUp(context.Background(), net)
	}
	return true
}

// port is the number of a container's port.
func (c *container) port(p intstr.IntOrString) int {
	if p.Type == intstr.Int {
		return p.IntValue()
	}
	for _, named := range c.spec.Ports {
		if named.Name == p.StrVal {
			return int(named.ContainerPort)
		}
	}
	return 0
}
