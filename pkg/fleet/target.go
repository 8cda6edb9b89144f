package fleet

import (
	"fmt"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
)

// recheck holds what is done against what is observed now, and says which nodes are not at the target any more. They failed:
// what somebody put back is told, and not written again.
func (s *stepper) recheck() map[int]bool {
	failed := map[int]bool{}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Outcome != Done {
			continue
		}
		if why := s.mismatch(n); why != "" {
			s.came(n, NodeFailed, why)
			failed[i] = true
		}
	}
	return failed
}

// mismatch says what of a node that is done is not the target any more; empty when all is, or when the node is gone.
func (s *stepper) mismatch(n *NodeRecord) string {
	node, o := s.view.Nodes[n.Key()], &s.Objects[n.Object]
	if node == nil || node.DeletionTimestamp != nil {
		return ""
	}
	runs := node.Status.CurrentSidecarTLS.Config()
	anew := n.UID != "" && node.UID != n.UID
	switch owner, tls := s.observed(o); {
	case anew && node.SidecarTLS().Equal(o.Target):
		return "" // it is born with the target
	case anew:
		return fmt.Sprintf("it was deleted and created anew, with spec.sidecar.tls %s, wanted %s; next: the same command again",
			plan.TLSText(node.SidecarTLS()), plan.TLSText(o.Target))
	case owner != nil && !tls.Equal(o.Target):
		return putBack(o.Object, owner, tls, o.Target)
	case !node.SidecarTLS().Equal(o.Target):
		return putBack(Object{Kind: KindNode, Namespace: n.Namespace, Name: n.Name}, node, node.SidecarTLS(), o.Target)
	case !runs.Equal(o.Target):
		return fmt.Sprintf("status.currentSidecarTLS of %s is %s again, wanted %s; its spec was written last by %s; next: seictl node explain %s -n %s",
			n.Key(), plan.TLSText(runs), plan.TLSText(o.Target), lastWriter(node), n.Name, n.Namespace)
	}
	return ""
}

// putBack tells of an object whose TLS somebody changed after the rollout wrote it.
func putBack(o Object, found managed, tls, target *v1alpha1.SidecarTLSConfig) string {
	return fmt.Sprintf("%s of %s was changed to %s by %s, wanted %s: commit the change where it is managed from",
		o.field(), o, plan.TLSText(tls), lastWriter(found), plan.TLSText(target))
}
