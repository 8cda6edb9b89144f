package tasks

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/internal/failpoint"
	"sei.io/seictl/pkg/resources"
)

// deleteExact deletes the very object that was read; one that is gone is fine, one that took its place is left alone.
func deleteExact(ctx context.Context, env *Env, in Input, what string, obj client.Object) error {
	uid := obj.GetUID()
	err := env.Client.Delete(ctx, obj, client.Preconditions{UID: &uid}, client.PropagationPolicy("Background"))
	failpoint.Hit("deleted/" + string(in.Task.Type))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting %s %s/%s: %w", what, obj.GetNamespace(), obj.GetName(), err)
	}
	return nil
}

// mountedBy names a pod that mounts what match finds; nil when none does. The node's own pod is read live, as it is the one
// that was just replaced; others may name an object of ours too, and of those the cache knows.
func mountedBy(ctx context.Context, env *Env, in Input, match func(corev1.VolumeSource) bool) (*types.NamespacedName, error) {
	own, err := get(ctx, env.Live, in.Node.Namespace, resources.PodName(in.Node.Name), &corev1.Pod{})
	if err != nil {
		return nil, err
	}
	pods := &corev1.PodList{}
	if err := env.Client.List(ctx, pods, client.InNamespace(in.Node.Namespace)); err != nil {
		return nil, fmt.Errorf("listing pods in namespace %s: %w", in.Node.Namespace, err)
	}
	if own != nil && mounts(own, match) {
		return &types.NamespacedName{Namespace: own.Namespace, Name: own.Name}, nil
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Name != resources.PodName(in.Node.Name) && active(p) && mounts(p, match) {
			return &types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, nil
		}
	}
	return nil, nil
}

// active says whether a pod may still run.
func active(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func mounts(pod *corev1.Pod, match func(corev1.VolumeSource) bool) bool {
	for _, v := range pod.Spec.Volumes {
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
