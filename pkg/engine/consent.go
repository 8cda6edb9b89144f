package engine

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// consumeConsent removes the consent to a removal once neither the spec nor the node has TLS and no plan is active, so
// that it does not apply to a later one.
func (p *pass) consumeConsent(ctx context.Context) error {
	n := p.out.Node
	if _, set := n.Annotations[v1alpha1.AnnotationAllowTLSRemoval]; !set || n.DeletionTimestamp != nil ||
		n.SidecarTLS() != nil || n.Status.CurrentSidecarTLS != nil || n.Status.Plan.Active() ||
		n.Status.Phase != v1alpha1.PhaseRunning || p.snapshot.ForeignController != "" {
		return nil
	}
	body := `{"metadata":{"resourceVersion":"` + n.ResourceVersion + `","annotations":{"` + v1alpha1.AnnotationAllowTLSRemoval + `":null}}}`
	written := n.DeepCopy()
	err := p.opts.Client.Patch(ctx, written, client.RawPatch(types.MergePatchType, []byte(body)), client.FieldOwner(FieldManager))
	if err != nil {
		return fmt.Errorf("removing annotation %s from SeiNode %s/%s: %w", v1alpha1.AnnotationAllowTLSRemoval, n.Namespace, n.Name, err)
	}
	p.out.Node = written
	p.mu.Lock()
	p.latest[written.UID] = known{written: written, working: written}
	p.mu.Unlock()
	return nil
}
