package tasks

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskApplyStatefulSet,
		func(p *v1alpha1.TaskParams) *v1alpha1.StatefulSetParams { return p.StatefulSet }, applyStatefulSet)
}

// applyStatefulSet applies the rendered template, or that of an earlier revision. Under OnDelete neither touches the pod.
func applyStatefulSet(ctx context.Context, env *Env, in Input, p v1alpha1.StatefulSetParams) (Result, error) {
	switch {
	case p.FromRevision != "":
		return applyRevision(ctx, env, in, p.FromRevision)
	case p.Template != nil:
		if err := oneReplica(ctx, env, in); err != nil {
			return Result{}, err
		}
		return applyObject(ctx, env, in, resources.StatefulSet(resources.OwnerOf(in.Node), *p.Template))
	}
	return Result{}, Terminalf("task %s of plan %s names neither a template nor a revision", in.Task.Type, in.Plan.ID)
}

// oneReplica refuses a StatefulSet that somebody scaled, before anything is written: the render has one replica, and a node
// that was stopped on purpose, a validator whose key signs elsewhere, must not be started by an update.
func oneReplica(ctx context.Context, env *Env, in Input) error {
	sts := &appsv1.StatefulSet{}
	key := client.ObjectKeyFromObject(in.Node)
	switch err := env.Live.Get(ctx, key, sts); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading StatefulSet %s: %w", key, err)
	}
	return scaled(sts)
}

// scaled says that a StatefulSet does not have the one replica that a node has.
func scaled(sts *appsv1.StatefulSet) error {
	if n := sts.Spec.Replicas; n != nil && *n != 1 {
		return Terminalf("StatefulSet %s/%s was scaled to %d replicas; a node has one, and seictl does not change that: "+
			"next: kubectl -n %s scale statefulset %s --replicas=1, once one seid may run", sts.Namespace, sts.Name, *n, sts.Namespace, sts.Name)
	}
	return nil
}
