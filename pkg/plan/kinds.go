package plan

import (
	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/resources"
)

// BuildNodeInitPlan builds the plan that brings a node from Pending to Running. A node born with TLS is stamped by it: no
// second pod cycle follows.
func BuildNodeInitPlan(in Input) *v1alpha1.Plan {
	target := in.Drift.Target
	on := target.SidecarTLS != nil
	// An initialisation that was superseded may have stamped TLS that is off now.
	touched := on || in.Node.Status.CurrentSidecarTLS != nil
	p := in.paramsFor(target)
	dataPVC, config := resources.DataPVCParamsFor(in.Node, *in.Settings), resources.ConfigApplyParamsFor(in.Node)
	pvc, configApply := v1alpha1.TaskParams{EnsureDataPVC: &dataPVC}, v1alpha1.TaskParams{ConfigApply: &config}
	plan := in.newPlan(v1alpha1.NodeInit, nil, target, v1alpha1.PlanPrevious{}, []step{
		{true, v1alpha1.TaskEnsureDataPVC, "the chain data needs a volume that outlives the node", pvc},
		{issuer(target.SidecarTLS), v1alpha1.TaskApplySidecarCert,
			"the certificate comes from " + target.SidecarTLS.String(), p.cert},
		{on, v1alpha1.TaskWaitForSidecarTLSSecret, "a pod that mounts a missing Secret does not start", p.secret},
		{on, v1alpha1.TaskApplyRBACProxyConfig, "the proxy reads its configuration once, at start", p.proxyConfig},
		{true, v1alpha1.TaskApplyStatefulSet, middleWhy(true, on, target), p.statefulSet},
		{true, v1alpha1.TaskApplyService, "the Service publishes the ports of the pod", p.service},
		{true, v1alpha1.TaskReplacePod, "a pod of another revision gives way to the right one", p.replacePod},
		{true, v1alpha1.TaskObserveImage, "status.currentImage says what was observed", p.observeImage},
		{touched, v1alpha1.TaskObserveSidecarTLS, observeTLSWhy(on, true), p.observeTLS},
		{true, v1alpha1.TaskConfigApply, "seid's configuration is written before seid starts", configApply},
		{true, v1alpha1.TaskConfigValidate, "seid does not start on a configuration that is not valid", configApply},
		{true, v1alpha1.TaskMarkReady, "seid starts only now", markReady(false)},
	})
	plan.FailedPhase = v1alpha1.PhaseFailed
	return plan
}

// BuildMarkReadyPlan builds the plan of one task that releases the start gate of a Running node whose sidecar answers 503,
// after an eviction, say.
func BuildMarkReadyPlan(in Input) *v1alpha1.Plan {
	previous := in.latch()
	return in.newPlan(v1alpha1.MarkReady, nil, previous.Target(), previous, []step{
		{true, v1alpha1.TaskMarkReady, "the sidecar restarted and holds seid back until it is told that the node is ready",
			markReady(false)},
	})
}

// BuildNodeRollbackPlan builds the plan that returns a node to previous: the template of its revision, and stamps of what
// it ran. cause names the plan that it undoes.
func BuildNodeRollbackPlan(in Input, previous v1alpha1.PlanPrevious, cause v1alpha1.RollbackCause) *v1alpha1.Plan {
	target := previous.Target()
	on := target.SidecarTLS != nil
	touched := on || cause.Target.SidecarTLS != nil || in.Node.Status.CurrentSidecarTLS != nil
	// A pod that is parked on the right revision is what an earlier attempt left behind.
	changed := in.Snapshot.PodRevision() != previous.ControllerRevision || in.parked()
	p := in.paramsFor(target)
	// The node is down: any sound pair will do.
	for _, tp := range []*v1alpha1.TLSSecretParams{p.secret.TLSSecret, p.replacePod.ReplacePod.TLSSecret,
		p.observeTLS.ObserveSidecarTLS.TLSSecret} {
		if tp != nil {
			tp.AnySoundPair = true
		}
	}
	template := v1alpha1.TaskParams{StatefulSet: &v1alpha1.StatefulSetParams{FromRevision: previous.ControllerRevision}}
	plan := in.newPlan(v1alpha1.NodeRollback, nil, target, previous, []step{
		{issuer(target.SidecarTLS), v1alpha1.TaskApplySidecarCert,
			"the certificate comes from " + target.SidecarTLS.String() + " again", p.cert},
		{on, v1alpha1.TaskWaitForSidecarTLSSecret, "the proxy needs a sound pair to start", p.secret},
		{on, v1alpha1.TaskApplyRBACProxyConfig, "the proxy needs its configuration to start", p.proxyConfig},
		{true, v1alpha1.TaskApplyStatefulSet, "the template returns to revision " + previous.ControllerRevision, template},
		{true, v1alpha1.TaskApplyService, "the Service publishes the ports of the pod", p.service},
		{true, v1alpha1.TaskReplacePod, "a pod that is stuck on the other template does not go by itself", p.replacePod},
		{true, v1alpha1.TaskObserveImage, "status.currentImage says what was observed", p.observeImage},
		{touched, v1alpha1.TaskObserveSidecarTLS, "status.currentSidecarTLS says what was observed", p.observeTLS},
		{changed, v1alpha1.TaskMarkReady, "the new pod's sidecar holds seid back until it is told", markReady(previous.Ready)},
	})
	plan.RollsBack = &cause
	return plan
}

// repairOrder is the order in which objects are restored: as in a NodeUpdate, deletes last.
var repairOrder = []v1alpha1.TaskType{
	v1alpha1.TaskApplySidecarCert, v1alpha1.TaskApplyRBACProxyConfig, v1alpha1.TaskApplyStatefulSet,
	v1alpha1.TaskApplyService, v1alpha1.TaskDeleteRBACProxyConfig, v1alpha1.TaskDeleteSidecarCert,
}

// BuildNodeRepairPlan builds the plan of exactly the apply and delete tasks that restore the objects found to drift; nil
// when there are none.
func BuildNodeRepairPlan(in Input) *v1alpha1.Plan {
	target := v1alpha1.PlanTarget{
		Image: in.Node.Status.CurrentImage, SidecarTLS: in.Node.Status.CurrentSidecarTLS.Config(),
	}
	p := in.paramsFor(target)
	service := drift.CurrentService(in.Node, in.Snapshot)
	p.service = v1alpha1.TaskParams{Service: &service}
	byTask := map[v1alpha1.TaskType]v1alpha1.TaskParams{
		v1alpha1.TaskApplySidecarCert: p.cert, v1alpha1.TaskDeleteSidecarCert: p.cert,
		v1alpha1.TaskApplyRBACProxyConfig: p.proxyConfig, v1alpha1.TaskDeleteRBACProxyConfig: p.proxyConfig,
		v1alpha1.TaskApplyStatefulSet: p.statefulSet, v1alpha1.TaskApplyService: p.service,
	}
	var steps []step
	for _, t := range repairOrder {
		for i := range in.Drift.Findings {
			if f := &in.Drift.Findings[i]; f.Subject == drift.SubjectObjects && f.Task == t {
				steps = append(steps, step{true, t, f.Why, byTask[t]})
			}
		}
	}
	if len(steps) == 0 {
		return nil
	}
	return in.newPlan(v1alpha1.NodeRepair, []v1alpha1.PlanCause{v1alpha1.ObjectDrift}, target, in.latch(), steps)
}
