package tasks

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

// workload is the StatefulSet of a node and its one pod; each nil when it does not exist.
type workload struct {
	sts *appsv1.StatefulSet
	pod *corev1.Pod
}

// readWorkload reads both, from the cache or from the API server.
func readWorkload(ctx context.Context, r client.Reader, node *v1alpha1.SeiNode) (workload, error) {
	var w workload
	sts, err := get(ctx, r, node.Namespace, node.Name, &appsv1.StatefulSet{})
	if err != nil {
		return w, err
	}
	pod, err := get(ctx, r, node.Namespace, resources.PodName(node.Name), &corev1.Pod{})
	if err != nil {
		return w, err
	}
	return workload{sts: sts, pod: pod}, nil
}

// get reads one object into the one given; nil when it does not exist.
func get[T client.Object](ctx context.Context, r client.Reader, namespace, name string, obj T) (T, error) {
	var none T
	err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, obj)
	switch {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("reading %T %s/%s: %w", obj, namespace, name, err)
	}
	return obj, nil
}

// podRevision is the revision that a pod was created from.
func podRevision(pod *corev1.Pod) string { return pod.Labels[appsv1.ControllerRevisionHashLabelKey] }

// settledRevision is the revision that the StatefulSet makes pods of, once its controller has seen the given generation
// and every later one. The message says what is missing otherwise. The revision that counts is updateRevision alone:
// under OnDelete currentRevision does not advance.
func (w workload) settledRevision(node *v1alpha1.SeiNode, generation int64) (revision, message string) {
	name := node.Namespace + "/" + node.Name
	if w.sts == nil {
		return "", fmt.Sprintf("StatefulSet %s does not exist", name)
	}
	if w.sts.Status.ObservedGeneration < max(generation, w.sts.Generation) || w.sts.Status.UpdateRevision == "" {
		return "", fmt.Sprintf("waiting for the StatefulSet controller to see the new template of StatefulSet %s", name)
	}
	return w.sts.Status.UpdateRevision, ""
}

// appliedGeneration is the generation that apply-statefulset returned in this plan; zero when there is none.
func appliedGeneration(plan *v1alpha1.Plan) int64 {
	if t := plan.Task(v1alpha1.TaskApplyStatefulSet); t != nil && t.Output != nil {
		return t.Output.Generation
	}
	return 0
}

// subject is the pod that a task after the middle has to do with: the one of the update revision where the plan cycles
// the pod, else the one that runs. The message says what is missing otherwise.
func (w workload) subject(in Input) (*corev1.Pod, string) {
	revision := ""
	if in.Plan.Task(v1alpha1.TaskReplacePod) != nil {
		var message string
		if revision, message = w.settledRevision(in.Node, appliedGeneration(in.Plan)); message != "" {
			return nil, message
		}
	}
	name := in.Node.Namespace + "/" + resources.PodName(in.Node.Name)
	switch {
	case w.sts == nil:
		return nil, fmt.Sprintf("StatefulSet %s/%s does not exist", in.Node.Namespace, in.Node.Name)
	case w.pod == nil:
		return nil, fmt.Sprintf("pod %s does not exist yet", name)
	case w.pod.DeletionTimestamp != nil:
		return nil, fmt.Sprintf("pod %s is Terminating", name)
	case !metav1.IsControlledBy(w.pod, w.sts):
		return nil, fmt.Sprintf("pod %s is not of StatefulSet %s (%s)", name, in.Node.Name, ownerOf(w.pod))
	case revision != "" && podRevision(w.pod) != revision:
		return nil, fmt.Sprintf("pod %s is of revision %s, not of %s", name, podRevision(w.pod), revision)
	}
	return w.pod, ""
}

// containerSpec finds a container or init container of a pod; nil without one.
func containerSpec(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// containerStatus finds the status of a container or init container of a pod; nil without one.
func containerStatus(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// isRunning says whether a container runs right now.
func isRunning(pod *corev1.Pod, name string) bool {
	s := containerStatus(pod, name)
	return s != nil && s.State.Running != nil
}

// isStarted says whether a container passed its startup probe.
func isStarted(pod *corev1.Pod, name string) bool {
	s := containerStatus(pod, name)
	return s != nil && s.Started != nil && *s.Started && s.State.Running != nil
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
