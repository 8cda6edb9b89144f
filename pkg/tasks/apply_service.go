package tasks

import (
	"context"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskApplyService,
		func(p *v1alpha1.TaskParams) *v1alpha1.ServiceParams { return p.Service }, applyService)
}

func applyService(ctx context.Context, env *Env, in Input, p v1alpha1.ServiceParams) (Result, error) {
	return applyObject(ctx, env, in, resources.Service(resources.OwnerOf(in.Node), p))
}
