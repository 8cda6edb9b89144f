package tasks

import (
	"context"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskApplySidecarCert,
		func(p *v1alpha1.TaskParams) *v1alpha1.SidecarCertParams { return p.SidecarCert }, applySidecarCert)
}

// applySidecarCert applies the Certificate. Whether it is issued is the business of wait-for-sidecar-tls-secret.
func applySidecarCert(ctx context.Context, env *Env, in Input, p v1alpha1.SidecarCertParams) (Result, error) {
	return applyObject(ctx, env, in, resources.Certificate(resources.OwnerOf(in.Node), p))
}
