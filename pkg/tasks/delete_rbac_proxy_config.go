package tasks

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
)

func init() {
	register(v1alpha1.TaskDeleteRBACProxyConfig,
		func(p *v1alpha1.TaskParams) *v1alpha1.RBACProxyConfigParams { return p.RBACProxyConfig }, deleteRBACProxyConfig)
}

// deleteRBACProxyConfig deletes the proxy's ConfigMap, if it is this node's and nothing mounts it any more.
func deleteRBACProxyConfig(ctx context.Context, env *Env, in Input, p v1alpha1.RBACProxyConfigParams) (Result, error) {
	config, err := get(ctx, env.Live, in.Node.Namespace, p.Name, &corev1.ConfigMap{})
	if err != nil {
		return Result{}, err
	}
	if config == nil || !metav1.IsControlledBy(config, in.Node) {
		return Completed(nil), nil
	}
	by, err := mountedBy(ctx, env, in, ofConfigMap(p.Name))
	if err != nil {
		return Result{}, err
	}
	if by != "" {
		return Wait("%s still mounts ConfigMap %s", by, p.Name), nil
	}
	if err := deleteExact(ctx, env, in, "ConfigMap", config); err != nil {
		return Result{}, err
	}
	return Completed(nil), nil
}
