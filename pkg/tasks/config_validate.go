package tasks

import (
	"context"

	"sei.io/seictl/api/v1alpha1"
)

func init() {
	// It validates what config-apply wrote and has no params of its own.
	register(v1alpha1.TaskConfigValidate,
		func(*v1alpha1.TaskParams) *struct{} { return &struct{}{} }, configValidate)
}

// configValidate has the sidecar validate seid's configuration, as it lies on the volume.
func configValidate(ctx context.Context, env *Env, in Input, _ struct{}) (Result, error) {
	return runInSidecar(ctx, env, in, nil)
}
