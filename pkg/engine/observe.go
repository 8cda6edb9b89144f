package engine

import (
	"context"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

// Observe reads what a decision about a node needs, decides nothing and writes nothing: for a preview.
func (e *Engine) Observe(ctx context.Context, node *v1alpha1.SeiNode) (*drift.Snapshot, error) {
	p := &pass{Engine: e, orig: node, node: node.DeepCopy(), settings: e.opts.Settings(), now: e.opts.Now()}
	return p.gather(ctx)
}
