package tasks

import (
	"context"
	"crypto/x509"

	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

// Health asks the sidecar of a pod for its health over the transport that currentSidecarTLS names: 200, or 503 until
// mark-ready. An error means that it could not be asked.
func Health(ctx context.Context, env *Env, node *v1alpha1.SeiNode, pod *corev1.Pod) (int, error) {
	s, err := openSidecar(ctx, env, node, pod)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.health, nil
}

// ServedLeaf returns the leaf that a pod's proxy serves, when it is the one of the verdict; a *sidecar.LeafMismatchError
// when it is another.
func ServedLeaf(ctx context.Context, env *Env, node *v1alpha1.SeiNode, pod *corev1.Pod, v *certs.Verdict) (*x509.Certificate, error) {
	target := podTarget(pod, resources.PortProxy)
	target.TLS = &sidecar.TLSTarget{ServerName: serverName(env, node), Leaf: v.Leaf, CAs: v.CAs}
	return env.Sidecar.Handshake(ctx, target)
}
