package tasks

import (
	"context"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskApplyRBACProxyConfig,
		func(p *v1alpha1.TaskParams) *v1alpha1.RBACProxyConfigParams { return p.RBACProxyConfig }, applyRBACProxyConfig)
}

func applyRBACProxyConfig(ctx context.Context, env *Env, in Input, p v1alpha1.RBACProxyConfigParams) (Result, error) {
	return applyObject(ctx, env, in, resources.ProxyConfig(resources.OwnerOf(in.Node), p))
}
