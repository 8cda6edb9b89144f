package tasks

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

// deleteExact deletes the very object that was read; one that is gone is fine, one that took its place is left alone.
func deleteExact(ctx context.Context, env *Env, in Input, what string, obj client.Object) error {
	uid := obj.GetUID()
	err := env.Client.Delete(ctx, obj, client.Preconditions{UID: &uid}, client.PropagationPolicy("Background"))
	env.hit("deleted", in)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting %s %s/%s: %w", what, obj.GetNamespace(), obj.GetName(), err)
	}
	return nil
}

// mountedBy names what mounts, or is about to mount, what match finds; empty when nothing does. Of the node's own pod the
// cache may know only the one that was just replaced; of the others, which may name an object of ours too, it is believed.
func mountedBy(ctx context.Context, env *Env, in Input, match func(corev1.VolumeSource) bool) (string, error) {
	namespace, ownName := in.Node.Namespace, resources.PodName(in.Node.Name)
	own, err := ownPod(ctx, env, in)
	if err != nil {
		return "", err
	}
	if own != nil && mounts(own.Spec, match) {
		return "pod " + namespace + "/" + ownName, nil
	}
	sts, err := get(ctx, env.Client, namespace, in.Node.Name, &appsv1.StatefulSet{})
	if err != nil {
		return "", err
	}
	if sts != nil && mounts(sts.Spec.Template.Spec, match) {
		return "the template of StatefulSet " + namespace + "/" + in.Node.Name, nil
	}
	pods := &corev1.PodList{}
	if err := env.Client.List(ctx, pods, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return "", listError("pods", err, in.Node)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.Name != ownName && active(p) && mounts(p.Spec, match) {
			return "pod " + namespace + "/" + p.Name, nil
		}
	}
	return "", nil
}

// ownPod is the node's pod: from the cache if that is the pod that the plan saw come, as volumes of a pod never change, else
// live; nil when there is none.
func ownPod(ctx context.Context, env *Env, in Input) (*corev1.Pod, error) {
	namespace, name := in.Node.Namespace, resources.PodName(in.Node.Name)
	cached, err := get(ctx, env.Client, namespace, name, &corev1.Pod{})
	if err != nil {
		return nil, err
	}
	if t := in.Plan.Task(v1alpha1.TaskReplacePod); cached != nil && t != nil && t.Status == v1alpha1.TaskComplete &&
		t.Output != nil && t.Output.PodUID == string(cached.UID) {
		return cached, nil
	}
	return get(ctx, env.Live, namespace, name, &corev1.Pod{})
}

// active says whether a pod may still run.
func active(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func mounts(pod corev1.PodSpec, match func(corev1.VolumeSource) bool) bool {
	for _, v := range pod.Volumes {
		if match(v.VolumeSource) {
			return true
		}
	}
	return false
}

func ofSecret(name string) func(corev1.VolumeSource) bool {
	return func(v corev1.VolumeSource) bool {
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.Secret != nil && s.Secret.Name == name {
					return true
				}
			}
		}
		return v.Secret != nil && v.Secret.SecretName == name
	}
}

func ofConfigMap(name string) func(corev1.VolumeSource) bool {
	return func(v corev1.VolumeSource) bool { return v.ConfigMap != nil && v.ConfigMap.Name == name }
}

func ofClaim(name string) func(corev1.VolumeSource) bool {
	return func(v corev1.VolumeSource) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name
	}
}
