package tasks

import (
	"context"

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
		return applyObject(ctx, env, in, resources.StatefulSet(resources.OwnerOf(in.Node), *p.Template))
	}
	return Result{}, Terminalf("task %s of plan %s names neither a template nor a revision", in.Task.Type, in.Plan.ID)
}
