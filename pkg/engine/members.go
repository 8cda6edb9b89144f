package engine

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
)

// member is one node of a chain as the budget sees it.
type member struct {
	uid types.UID
	// name is namespace and name, version the resourceVersion that was read.
	name, version string
	validator     bool
	unavailable   bool
	cycling       bool
}

// reading is what the cache had of a chain.
type reading struct {
	at      time.Time
	members []member
}

// update brings a reading up to date with what a pass found of a node.
func (r reading) update(node *v1alpha1.SeiNode, podReady bool) {
	for i := range r.members {
		if m := &r.members[i]; m.uid == node.UID && !older(node.ResourceVersion, m.version) {
			leaving := node.DeletionTimestamp != nil
			m.version, m.unavailable, m.cycling = node.ResourceVersion, !leaving && unavailable(node, podReady), !leaving && cycling(node)
			return
		}
	}
}

// unavailable says whether a node is down. One that never was Ready does not count.
func unavailable(node *v1alpha1.SeiNode, podReady bool) bool {
	return node.Status.FirstReadyAt != nil && !podReady
}

// cycling says whether a plan has come to the template of a running node and is not done with its pod.
func cycling(node *v1alpha1.SeiNode) bool {
	p := node.Status.Plan
	if !p.Active() || !plan.Cycles(p) {
		return false
	}
	i := plan.Current(p)
	return p.Kind == v1alpha1.NodeRollback || (i >= 0 && !plan.BeforeTemplate(p, i))
}

// older says whether a resourceVersion is before another; not when that cannot be told.
func older(version, than string) bool {
	c, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && c < 0
}

// members reads the nodes of a chain and whether their pods are Ready, unless there is a reading younger than age. The mutex
// is held.
func (b *ChainBudget) members(ctx context.Context, chain string, age time.Duration) ([]member, error) {
	b.init()
	begun := time.Now()
	if r, ok := b.read[chain]; ok && begun.Sub(r.at) < age {
		return r.members, nil
	}
	var nodes v1alpha1.SeiNodeList
	if err := b.Reader.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing SeiNodes: %w", err)
	}
	var pods corev1.PodList
	if err := b.Reader.List(ctx, &pods, client.MatchingLabels{v1alpha1.LabelChain: chain}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	ready := map[types.NamespacedName]bool{}
	for i := range pods.Items {
		s := drift.Snapshot{Pod: &pods.Items[i]}
		ready[client.ObjectKeyFromObject(&pods.Items[i])] = s.PodReady()
	}
	var out []member
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if n.Spec.ChainID != chain || n.DeletionTimestamp != nil {
			continue
		}
		podReady := ready[types.NamespacedName{Namespace: n.Namespace, Name: resources.PodName(n.Name)}]
		out = append(out, member{
			uid: n.UID, name: n.Namespace + "/" + n.Name, version: n.ResourceVersion, validator: n.Spec.Validator != nil,
			unavailable: unavailable(n, podReady), cycling: cycling(n),
		})
	}
	b.read[chain] = reading{at: begun, members: out}
	return out, nil
}

// limit is how many nodes of a chain may be in a pod cycle or down at once: at least one.
func (b *ChainBudget) limit(chain string, nodes int) int {
	width := b.Settings().MaxUnavailable(chain)
	n, err := intstr.GetScaledValueFromIntOrPercent(&width, nodes, false)
	if err != nil || n < 1 {
		return 1
	}
	return n
}
