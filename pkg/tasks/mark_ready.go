package tasks

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

func init() {
	register(v1alpha1.TaskMarkReady,
		func(p *v1alpha1.TaskParams) *v1alpha1.MarkReadyParams { return p.MarkReady }, markReady)
}

const (
	// healthPoll is how often to ask a sidecar that accepted mark-ready for its health, and firstHealthPoll how soon at
	// first: it takes a moment.
	healthPoll      = 500 * time.Millisecond
	firstHealthPoll = 100 * time.Millisecond
	// readyPoll backs up the watch of the pod once the sidecar is healthy.
	readyPoll = 5 * time.Second
)

// markReady releases the start gate of seid: the point of no return. Once accepted it stays so, whatever happens to the
// sidecar; a sidecar that restarts forgets it and is told again.
func markReady(ctx context.Context, env *Env, in Input, p v1alpha1.MarkReadyParams) (Result, error) {
	pod, wait, err := sidecarPod(ctx, env, in)
	if pod == nil {
		return wait, err
	}
	s, err := openSidecar(ctx, env, in.Node, pod)
	if err != nil {
		return sidecarTrouble(env, pod, err)
	}
	defer s.Close()
	switch s.health {
	case http.StatusOK:
		return awaitSeid(ctx, env, p, pod)
	case http.StatusServiceUnavailable:
		return postMarkReady(ctx, env, in, pod, s)
	}
	return sidecarTrouble(env, pod, &sidecar.StatusError{Code: s.health, Method: http.MethodGet, Path: "/v0/healthz"})
}

// accepted is the output of a mark-ready that the sidecar has, or may have.
func accepted(pod *corev1.Pod) *v1alpha1.TaskOutput {
	return &v1alpha1.TaskOutput{Accepted: true, PodUID: string(pod.UID)}
}

// awaitSeid waits for seid behind the open gate. The pod's status is watched.
func awaitSeid(ctx context.Context, env *Env, p v1alpha1.MarkReadyParams, pod *corev1.Pod) (Result, error) {
	done, what := isStarted(pod, resources.ContainerSeid), "started"
	if p.AwaitPodReady {
		done, what = podReady(pod), "Ready"
	}
	if done {
		return Completed(accepted(pod)), nil
	}
	r := awaitPod(ctx, env, pod, "the sidecar of pod %s/%s is ready and seid was let go; it is not %s yet", pod.Namespace, pod.Name, what)
	r.Output = accepted(pod)
	r.RequeueAfter = readyPoll
	return r, nil
}

// postMarkReady posts mark-ready to a parked sidecar, unless this very sidecar has it already.
//
// The sidecar remembers completed ids on the data volume and readiness only in memory, so the id is another one for every
// pod and for every start of the container: the same id would never arm it again.
func postMarkReady(ctx context.Context, env *Env, in Input, pod *corev1.Pod, s *session) (Result, error) {
	name := pod.Namespace + "/" + pod.Name
	container := containerStatus(pod, resources.ContainerSidecar)
	if container == nil || container.ContainerID == "" {
		return Wait("container %s of pod %s has no id yet", resources.ContainerSidecar, name), nil
	}
	id, kind := wireID(in.Task, string(pod.UID), container.ContainerID), string(in.Task.Type)
	if in.Task.Output != nil && in.Task.Output.Accepted {
		task, err := s.GetTask(ctx, id)
		switch {
		case sidecar.IsNotFound(err):
			// A restarted sidecar, or one that lost the task.
		case err != nil:
			return sidecarTrouble(env, pod, err)
		case task.Status == sidecar.TaskCompleted:
			return WaitPolling(servedPoll, "the sidecar of pod %s completed mark-ready and still answers 503", name), nil
		case task.Status == sidecar.TaskRunning:
			return acceptedAndWaiting(pod, healthPoll), nil
		default: // failed: posting it again runs it again
			if err := s.PostTask(ctx, id, kind, nil); err != nil && !sidecar.DeliveryUnknown(err) {
				return sidecarTrouble(env, pod, err)
			}
			return Result{}, fmt.Errorf("mark-ready failed in the sidecar of pod %s: %s", name, task.Error)
		}
	}
	env.hit("before-post", in)
	err := s.PostTask(ctx, id, kind, nil)
	env.hit("posted", in)
	// When the connection broke after the request was sent, it has to be assumed that seid was let go.
	if err != nil && !sidecar.DeliveryUnknown(err) {
		return sidecarTrouble(env, pod, err)
	}
	return acceptedAndWaiting(pod, firstHealthPoll), nil
}

func acceptedAndWaiting(pod *corev1.Pod, poll time.Duration) Result {
	r := WaitPolling(poll, "the sidecar of pod %s/%s accepted mark-ready; waiting for its health", pod.Namespace, pod.Name)
	r.Output = accepted(pod)
	return r
}
