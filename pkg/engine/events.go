package engine

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

// announce publishes what the status that was just written changed: conditions whose status or reason moved, and plans
// that ended.
func (p *pass) announce() {
	if p.opts.OnPlanEnd != nil {
		for _, e := range p.ended {
			p.opts.OnPlanEnd(p.out.Node, e.plan, e.outcome)
		}
	}
	if p.opts.Recorder == nil {
		return
	}
	for i := range p.node.Status.Conditions {
		c := &p.node.Status.Conditions[i]
		old := meta.FindStatusCondition(p.orig.Status.Conditions, c.Type)
		if old != nil && old.Status == c.Status && (old.Reason == c.Reason || p.toldByUpdate(c)) {
			continue
		}
		p.opts.Recorder.Event(p.out.Node, eventType(c), c.Reason, c.Type+"="+string(c.Status)+": "+c.Message)
	}
	if wanted, allowed := drift.TLSRemoval(p.node); wanted && !allowed && p.orig.Status.ObservedGeneration != p.node.Generation {
		p.opts.Recorder.Event(p.out.Node, corev1.EventTypeWarning, v1alpha1.ReasonRemovalNeedsConsent,
			strings.Join(p.report.Warnings, " "))
	}
}

// toldByUpdate says whether a condition repeats NodeUpdateInProgress: why a node is still not Ready while its update goes on
// is told once.
func (p *pass) toldByUpdate(c *metav1.Condition) bool {
	update := meta.FindStatusCondition(p.node.Status.Conditions, v1alpha1.ConditionNodeUpdateInProgress)
	return c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionFalse && update != nil &&
		update.Status == metav1.ConditionTrue && update.Reason == c.Reason
}

// eventType is Warning for what needs somebody's eye.
func eventType(c *metav1.Condition) string {
	switch c.Reason {
	case v1alpha1.ReasonUpdateFailed, v1alpha1.ReasonRolledBack, v1alpha1.ReasonUpdateBlocked, v1alpha1.ReasonInitFailed,
		v1alpha1.ReasonForeignController:
		return corev1.EventTypeWarning
	}
	if c.Type == v1alpha1.ConditionSidecarTLSSecretReady && c.Status != metav1.ConditionTrue {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}
