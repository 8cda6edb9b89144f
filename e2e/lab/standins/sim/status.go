package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status is the pod's status as a kubelet reports it. The caller holds the lock.
func (p *pod) status() corev1.PodStatus {
	st := corev1.PodStatus{
		ObservedGeneration: p.generation,
		HostIP:             hostIP, HostIPs: []corev1.HostIP{{IP: hostIP}},
	}
	if !p.begun.IsZero() {
		st.StartTime = &p.begun
	}
	if p.net != nil {
		st.PodIP, st.PodIPs = p.net.ip, []corev1.PodIP{{IP: p.net.ip}}
	}
	var unready, uninitialised []string
	for _, c := range p.containers {
		cs := c.status()
		if c.init && (!c.finished() && !c.stays || c.stays && !c.started) {
			uninitialised = append(uninitialised, c.spec.Name)
		}
		if (!c.init || c.stays) && !c.ready {
			unready = append(unready, c.spec.Name)
		}
		if c.init {
			st.InitContainerStatuses = append(st.InitContainerStatuses, cs)
		} else {
			st.ContainerStatuses = append(st.ContainerStatuses, cs)
		}
	}
	st.Phase = p.phase(len(uninitialised) > 0)
	sandbox := condition(corev1.PodReadyToStartContainers, p.net != nil, "", "")
	initialised := condition(corev1.PodInitialized, len(uninitialised) == 0, "ContainersNotInitialized",
		"containers with incomplete status: ["+strings.Join(uninitialised, " ")+"]")
	why := "containers with unready status: [" + strings.Join(unready, " ") + "]"
	st.Conditions = []corev1.PodCondition{
		sandbox, initialised,
		condition(corev1.PodReady, len(unready) == 0, "ContainersNotReady", why),
		condition(corev1.ContainersReady, len(unready) == 0, "ContainersNotReady", why),
	}
	for i := range st.Conditions {
		st.Conditions[i].ObservedGeneration = p.generation
		st.Conditions[i].LastTransitionTime = p.since(st.Conditions[i])
	}
	return st
}

// since is when a condition took its status.
func (p *pod) since(c corev1.PodCondition) metav1.Time {
	if p.told != nil {
		for _, told := range p.told.Conditions {
			if told.Type == c.Type && told.Status == c.Status {
				return told.LastTransitionTime
			}
		}
	}
	return metav1.Now()
}

func condition(kind corev1.PodConditionType, is bool, reason, message string) corev1.PodCondition {
	if is {
		return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue}
	}
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
}

// phase is Running once a main container has run, and stays so: pods here are restarted for ever.
func (p *pod) phase(initialising bool) corev1.PodPhase {
	if ran := p.told != nil && p.told.Phase == corev1.PodRunning; initialising && !ran {
		return corev1.PodPending
	}
	if p.ended && p.net != nil {
		for _, c := range p.containers {
			if t := c.state.Terminated; t != nil && t.ExitCode != 0 {
				return corev1.PodFailed
			}
		}
		return corev1.PodSucceeded
	}
	for _, c := range p.containers {
		if !c.init && c.state.Running == nil && c.state.Terminated == nil && c.last.Terminated == nil {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

// status is the container's status. The caller holds the pod's lock.
func (c *container) status() corev1.ContainerStatus {
	state := c.state
	if state == (corev1.ContainerState{}) {
		reason := "PodInitializing"
		if c.pod.net == nil && len(c.pod.obj.Spec.InitContainers) == 0 {
			reason = "ContainerCreating"
		}
		state.Waiting = &corev1.ContainerStateWaiting{Reason: reason}
	}
	started := c.run != nil && c.started
	st := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, State: state, LastTerminationState: c.last, RestartCount: c.restarts,
		ContainerID: c.id, Started: &started, Ready: c.ready || c.finished(),
	}
	if c.id != "" {
		sum := sha256.Sum256([]byte(c.spec.Image))
		name, _, _ := strings.Cut(c.spec.Image, ":")
		st.ImageID = fmt.Sprintf("%s@sha256:%s", name, hex.EncodeToString(sum[:]))
	}
	return st
}
