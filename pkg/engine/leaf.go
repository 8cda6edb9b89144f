package engine

import (
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

// ServesSecret says whether a node was last seen to serve the certificate in the Secret of the TLS that it runs, sound or
// not. It reads nothing; ok is false when no pass judged the Secret, or it holds no certificate.
func (e *Engine) ServesSecret(node *v1alpha1.SeiNode) (serves, ok bool) {
	current := node.Status.CurrentSidecarTLS.Config()
	if current == nil {
		return false, false
	}
	key := types.NamespacedName{Namespace: node.Namespace, Name: resources.SecretName(node.Name, current)}
	v, ok := e.verdicts.last(node.UID, key)
	leaf := v.verdict.FingerprintSHA256
	if !ok || leaf == "" {
		return false, false
	}
	return node.Status.CurrentSidecarTLS.FingerprintSHA256 == leaf || e.looks.serves(node.UID, leaf), true
}

// ServedChecks is how many times it was looked which certificate a node serves, by what was found, besides what plans look at.
func (e *Engine) ServedChecks() map[LookResult]uint64 { return e.looks.count() }
