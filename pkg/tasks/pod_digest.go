package tasks

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// eventPoll is how often to look for events while a pod does not start: nobody watches those.
	eventPoll = 5 * time.Second
	// mountTime is what a pod gets to mount its volumes before anybody asks why it has not.
	mountTime = 5 * time.Second
)

// awaitPod is the wait for a pod that is not where it should be, with the reason in the kubelet's own words.
func awaitPod(ctx context.Context, env *Env, pod *corev1.Pod, format string, args ...any) Result {
	r := Wait(format, args...)
	if trouble := podTrouble(pod); trouble != "" {
		r.Message += ": " + trouble
		return r
	}
	if !mounting(pod) {
		return r
	}
	if age := env.Now().Sub(pod.CreationTimestamp.Time); age < mountTime {
		r.RequeueAfter = mountTime - age
		return r
	}
	r.RequeueAfter = eventPoll
	if said := lastEvent(ctx, env, pod, "FailedMount", "FailedAttachVolume"); said != "" {
		r.Message += ": " + said
	}
	return r
}

// podTrouble says what keeps a pod from running, as far as its status tells; empty when nothing does.
func podTrouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "it cannot be scheduled: " + c.Message
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return strings.TrimSuffix(fmt.Sprintf("it failed: %s: %s", pod.Status.Reason, pod.Status.Message), ": ")
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			if t := containerTrouble(s); t != "" {
				return "container " + s.Name + " " + t
			}
		}
	}
	return ""
}

// containerTrouble says what is wrong with a container. What the kubelet alternates between (pull and back off, crash and
// wait) is one trouble in the same words, without its counters: every change of a message is a write.
func containerTrouble(s corev1.ContainerStatus) string {
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff":
			return fmt.Sprintf("cannot pull image %s%s", s.Image, detail(w.Message))
		case "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError",
			"RunContainerError", "StartError":
			return "cannot start: " + w.Reason + detail(w.Message)
		}
	}
	last := s.State.Terminated
	if last == nil {
		last = s.LastTerminationState.Terminated
	}
	started := s.Started != nil && *s.Started
	switch {
	case last == nil || started || s.Ready, last.ExitCode == 0 && s.State.Terminated != nil:
		return ""
	case s.State.Terminated == nil && s.State.Waiting == nil && s.RestartCount == 0:
		return ""
	}
	return fmt.Sprintf("keeps failing: exit code %d (%s)%s; see its log with kubectl logs -c %s",
		last.ExitCode, last.Reason, detail(last.Message), s.Name)
}

var (
	pullPrefix = regexp.MustCompile(`^(Back-off pulling image "[^"]*"(: )?|ErrImagePull: )+`)
	backOff    = regexp.MustCompile(`back-off \S+ restarting`)
)

// detail is a message of the kubelet without what changes from one attempt to the next.
func detail(message string) string {
	message = pullPrefix.ReplaceAllString(message, "")
	message = backOff.ReplaceAllString(message, "back-off restarting")
	if message = strings.TrimSpace(message); message == "" {
		return ""
	}
	return ": " + message
}

// mounting says whether a pod has a machine and none of its containers has begun: it waits for its volumes.
func mounting(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName == "" {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			if s.State.Waiting == nil {
				return false
			}
		}
	}
	return true
}

// lastEvent is the message of the newest event of an object for any of the reasons; empty when there is none or events
// cannot be read: they only explain.
func lastEvent(ctx context.Context, env *Env, obj client.Object, reasons ...string) string {
	list := &corev1.EventList{}
	err := env.Live.List(ctx, list, client.InNamespace(obj.GetNamespace()), client.MatchingFieldsSelector{
		Selector: fields.OneTermEqualSelector("involvedObject.uid", string(obj.GetUID())),
	})
	if err != nil {
		return ""
	}
	events := slices.DeleteFunc(list.Items, func(e corev1.Event) bool {
		// The kubelet's summary lists volumes in any order; the event of the volume itself says more.
		return !slices.Contains(reasons, e.Reason) || strings.HasPrefix(e.Message, "Unable to attach or mount volumes")
	})
	if len(events) == 0 {
		return ""
	}
	newest := slices.MaxFunc(events, func(a, b corev1.Event) int { return seen(a).Compare(seen(b)) })
	return newest.Message
}

func seen(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
