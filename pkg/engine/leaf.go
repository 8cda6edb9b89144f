package engine

import (
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

// SecretLeaf is the fingerprint of the certificate in the Secret of the TLS that a node runs, as a pass judged it last. It
// reads nothing; false when no pass did, or the Secret holds no certificate.
func (e *Engine) SecretLeaf(node *v1alpha1.SeiNode) (fingerprint string, ok bool) {
	current := node.Status.CurrentSidecarTLS.Config()
	if current == nil {
		return "", false
	}
	key := types.NamespacedName{Namespace: node.Namespace, Name: resources.SecretName(node.Name, current)}
	v, ok := e.verdicts.last(node.UID, key)
	return v.verdict.FingerprintSHA256, ok && v.verdict.FingerprintSHA256 != ""
}

// ServedChecks is how many times it was looked which certificate a node serves, besides what plans look at.
func (e *Engine) ServedChecks() uint64 { return e.looks.taken.Load() }
