package plan

import (
	"fmt"

	"sei.io/seictl/api/v1alpha1"
)

// BuildRunningPlan builds the plan that removes the drift of a Running node: a NodeUpdate for what it runs, else a
// NodeRepair for its objects, else nil. Whether a plan may start is not its question: see Resolve.
func BuildRunningPlan(in Input) *v1alpha1.Plan {
	if in.Drift.NodeUpdateDue() {
		return BuildNodeUpdatePlan(in, in.latch(), false)
	}
	return BuildNodeRepairPlan(in)
}

// BuildNodeUpdatePlan builds one plan for all drift found, with at most one pod cycle. previous is where a rollback
// returns to. force cycles the pod although the difference alone would not take it, and has the certificate issued and
// observed again: the live template is that of a plan that was superseded, another than previous and than the target.
func BuildNodeUpdatePlan(in Input, previous v1alpha1.PlanPrevious, force bool) *v1alpha1.Plan {
	target, from := in.Drift.Target, in.Node.Status.CurrentSidecarTLS.Config()
	if force {
		from = previous.SidecarTLS.Config()
	}
	image, tls := in.changes(previous, force)
	on := target.SidecarTLS != nil
	// An issuer swapped for another changes the certificate under the same Secret name, not the pod template.
	swap := tls && issuer(from) && issuer(target.SidecarTLS)
	cycle := image || force || (tls && !swap)
	// The plan superseded may have asked for another certificate.
	certificate := tls || force
	p := in.paramsFor(target)

	plan := in.newPlan(v1alpha1.NodeUpdate, nodeUpdateCauses(image, tls), target, previous, []step{
		// The certificate first: nothing is touched before it really is issued.
		{certificate && issuer(target.SidecarTLS), v1alpha1.TaskApplySidecarCert,
			fmt.Sprintf("the certificate comes from %s", target.SidecarTLS), p.cert},
		{certificate && on, v1alpha1.TaskWaitForSidecarTLSSecret,
			"nothing is restarted before the Secret is sound and of the right issuer", p.secret},
		{certificate && on && cycle, v1alpha1.TaskApplyRBACProxyConfig,
			"the proxy reads its configuration once, at start", p.proxyConfig},
		// The middle: the Service never lags the pod.
		{cycle, v1alpha1.TaskApplyStatefulSet, middleWhy(image, tls, target), p.statefulSet},
		{cycle, v1alpha1.TaskApplyService, "the Service publishes the ports of the new pod", p.service},
		{cycle, v1alpha1.TaskReplacePod, "the pod restarts on the new template: the one pod cycle", p.replacePod},
		// The observers: what is stamped into status was seen.
		{image || force, v1alpha1.TaskObserveImage,
			"status.currentImage says what was observed", p.observeImage},
		{tls || (force && on), v1alpha1.TaskObserveSidecarTLS, observeTLSWhy(on, cycle), p.observeTLS},
		// The point of no return: only now does seid start.
		{cycle, v1alpha1.TaskMarkReady, "seid starts only now: up to here everything can be taken back",
			markReady(previous.Ready)},
		// Cleanup comes last, when nothing mounts it.
		{tls && !on, v1alpha1.TaskDeleteRBACProxyConfig, "no proxy reads it any more", p.proxyConfig},
		{tls && issuer(from) && !issuer(target.SidecarTLS), v1alpha1.TaskDeleteSidecarCert,
			"the issued certificate is not used any more", p.cert},
	})
	return plan
}

// changes says what the target changes of what runs and, with force, of previous.
func (in *Input) changes(previous v1alpha1.PlanPrevious, force bool) (image, tls bool) {
	target := in.Drift.Target
	image = in.Drift.Has(v1alpha1.ImageDrift) || force && previous.Image != target.Image
	tls = in.Drift.Has(v1alpha1.SidecarTLSDrift) || force && !target.SidecarTLS.Equal(previous.SidecarTLS.Config())
	return image, tls
}

func nodeUpdateCauses(image, tls bool) (out []v1alpha1.PlanCause) {
	if image {
		out = append(out, v1alpha1.ImageDrift)
	}
	if tls {
		out = append(out, v1alpha1.SidecarTLSDrift)
	}
	return out
}

func middleWhy(image, tls bool, target v1alpha1.PlanTarget) string {
	tlsPart := "the proxy is taken out of the pod"
	if target.SidecarTLS != nil {
		tlsPart = "the proxy in the pod serves the certificate of " + target.SidecarTLS.String()
	}
	switch {
	case image && tls:
		return fmt.Sprintf("seid runs %s, and %s", target.Image, tlsPart)
	case tls:
		return tlsPart
	}
	return fmt.Sprintf("seid runs %s", target.Image)
}

func observeTLSWhy(on, cycle bool) string {
	switch {
	case !on:
		return "TLS counts as off once plain HTTP answers and the proxy's port is closed"
	case !cycle:
		return "the proxy reloads by itself; done once the new leaf is served"
	}
	return "TLS counts as on once a verified handshake and an authenticated call passed"
}
