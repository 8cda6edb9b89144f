package plan

import (
	"slices"

	"sei.io/seictl/api/v1alpha1"
)

// Classes of plan: the values of the metrics label "type".
const (
	ClassInit          = "init"
	ClassNodeUpdate    = "node-update"
	ClassTLSToggle     = "tls-toggle"
	ClassNodeUpdateTLS = "node-update-tls"
	ClassMarkReady     = "mark-ready"
	ClassRollback      = "rollback"
	ClassRepair        = "repair"
)

// Classify gives the metrics label of a plan. It reads kind and causes, never the tasks.
func Classify(kind v1alpha1.PlanKind, causes []v1alpha1.PlanCause) string {
	switch kind {
	case v1alpha1.NodeInit:
		return ClassInit
	case v1alpha1.MarkReady:
		return ClassMarkReady
	case v1alpha1.NodeRollback:
		return ClassRollback
	case v1alpha1.NodeRepair:
		return ClassRepair
	}
	switch NodeUpdateReason(causes) {
	case v1alpha1.ReasonUpdateAndTLSToggleStarted:
		return ClassNodeUpdateTLS
	case v1alpha1.ReasonTLSToggleStarted:
		return ClassTLSToggle
	}
	return ClassNodeUpdate
}

// NodeUpdateReason is the reason of NodeUpdateInProgress=True for these causes.
func NodeUpdateReason(causes []v1alpha1.PlanCause) string {
	image, tls := slices.Contains(causes, v1alpha1.ImageDrift), slices.Contains(causes, v1alpha1.SidecarTLSDrift)
	switch {
	case image && tls:
		return v1alpha1.ReasonUpdateAndTLSToggleStarted
	case tls:
		return v1alpha1.ReasonTLSToggleStarted
	}
	return v1alpha1.ReasonUpdateStarted
}

// PodCycles is how many running pods a plan replaces: one where a running node's pod is replaced, else none.
func PodCycles(p *v1alpha1.Plan) int {
	if p == nil || p.Kind == v1alpha1.NodeInit || p.Task(v1alpha1.TaskReplacePod) == nil {
		return 0
	}
	return 1
}

// Cycles says whether a plan replaces a running pod: then it takes a slot of the chain's budget and passes the gates.
func Cycles(p *v1alpha1.Plan) bool { return PodCycles(p) > 0 }
