package tasks

import (
	"context"

	"sei.io/seictl/api/v1alpha1"
)

func init() {
	register(v1alpha1.TaskConfigApply,
		func(p *v1alpha1.TaskParams) *v1alpha1.ConfigApplyParams { return p.ConfigApply }, configApply)
}

// seidConfig is what the sidecar is told of seid's configuration.
type seidConfig struct {
	Overrides map[string]string     `json:"overrides,omitempty"`
	Peers     []v1alpha1.PeerSource `json:"peers,omitempty"`
}

// configApply has the sidecar write seid's configuration.
func configApply(ctx context.Context, env *Env, in Input, p v1alpha1.ConfigApplyParams) (Result, error) {
	return runInSidecar(ctx, env, in, seidConfig{Overrides: p.Overrides, Peers: p.Peers})
}
