package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

const (
	// taskPoll is how often to ask how far a task of the sidecar is; nothing in the cluster says.
	taskPoll = 250 * time.Millisecond
	// repostings is how often a task that failed in the sidecar is posted again: a sidecar that is restarted in the middle of
	// a task calls it failed.
	repostings = 2
)

// wireID is the id under which the sidecar knows a task of ours: the same at every run, so that a task posted twice runs
// once. What else makes it another task goes into parts.
func wireID(task *v1alpha1.Task, parts ...string) string {
	id, err := uuid.Parse(task.ID)
	if err != nil {
		id = uuid.NewSHA1(uuid.NameSpaceOID, []byte(task.ID))
	}
	name := string(task.Type)
	for _, p := range parts {
		name += "/" + p
	}
	return uuid.NewSHA1(id, []byte(name)).String()
}

// sidecarPod is the pod whose sidecar a task calls, once its container runs; else the result to return.
func sidecarPod(ctx context.Context, env *Env, in Input) (*corev1.Pod, Result, error) {
	w, err := readWorkload(ctx, env.Client, in.Node)
	if err != nil {
		return nil, Result{}, err
	}
	pod, message := w.subject(in)
	if pod == nil {
		return nil, Wait("%s", message), nil
	}
	containers := []string{resources.ContainerSidecar}
	if in.Node.Status.CurrentSidecarTLS != nil {
		containers = append(containers, resources.ContainerProxy)
	}
	for _, c := range containers {
		if !isRunning(pod, c) {
			return nil, awaitPod(ctx, env, pod, "container %s of pod %s/%s does not run", c, pod.Namespace, pod.Name), nil
		}
	}
	return pod, Result{}, nil
}

// runInSidecar has the sidecar run a task, and is done when it completed.
func runInSidecar(ctx context.Context, env *Env, in Input, params any) (Result, error) {
	pod, wait, err := sidecarPod(ctx, env, in)
	if pod == nil {
		return wait, err
	}
	s, err := openSidecar(ctx, env, in.Node, pod)
	if err != nil {
		return sidecarTrouble(env, pod, err)
	}
	defer s.Close()
	id, kind := wireID(in.Task), string(in.Task.Type)
	task, err := s.GetTask(ctx, id)
	switch {
	case sidecar.IsNotFound(err):
		return post(ctx, env, in, pod, s, id, params)
	case err != nil:
		return sidecarTrouble(env, pod, err)
	}
	switch task.Status {
	case sidecar.TaskCompleted:
		return Completed(&v1alpha1.TaskOutput{PodUID: string(pod.UID)}), nil
	case sidecar.TaskFailed:
		failed := fmt.Errorf("%s failed in the sidecar of pod %s/%s: %s", kind, pod.Namespace, pod.Name, task.Error)
		if in.Task.Attempts >= repostings {
			return Result{}, Terminal(failed)
		}
		if _, err := post(ctx, env, in, pod, s, id, params); err != nil {
			return Result{}, err
		}
		return Result{}, failed
	}
	return WaitPolling(taskPoll, "%s runs in the sidecar of pod %s/%s", kind, pod.Namespace, pod.Name), nil
}

// post submits a task. Whether it arrived when the connection broke is for the next look to tell.
func post(ctx context.Context, env *Env, in Input, pod *corev1.Pod, s *session, id string, params any) (Result, error) {
	kind := string(in.Task.Type)
	env.hit("before-post", in)
	err := s.PostTask(ctx, id, kind, params)
	env.hit("posted", in)
	if err != nil && !sidecar.DeliveryUnknown(err) {
		return sidecarTrouble(env, pod, err)
	}
	return WaitPolling(taskPoll, "%s was posted to the sidecar of pod %s/%s", kind, pod.Namespace, pod.Name), nil
}
