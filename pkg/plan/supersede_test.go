package plan

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

// toggling is a node in the middle of off -> issuer a, its plan run up to a task.
func toggling(until v1alpha1.TaskType) *v1alpha1.SeiNode {
	n := runningNode(nil)
	n.Spec.Sidecar.TLS = issuerTLS("a")
	n.Status.Plan = complete(build(n), until)
	return n
}

func TestSupersede(t *testing.T) {
	for name, tc := range map[string]struct {
		until    v1alpha1.TaskType
		template string
		edit     func(*v1alpha1.SeiNode)
		kept     bool
		want     string // the successor's tasks; empty for none
		idle     IdleReason
	}{
		"the same target keeps it": {v1alpha1.TaskApplySidecarCert, "r1",
			func(n *v1alpha1.SeiNode) { n.Spec.PodLabels = map[string]string{"a": "b"} }, true, "", ""},
		"the default spelt out is the same target": {v1alpha1.TaskApplySidecarCert, "r1",
			func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS.IssuerKind = "ClusterIssuer" }, true, "", ""},
		"another issuer": {v1alpha1.TaskWaitForSidecarTLSSecret, "r1",
			func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS.IssuerName = "b" }, false, "cert wait config sts svc pod tls ready", ""},
		"an image beside it": {v1alpha1.TaskWaitForSidecarTLSSecret, "r1",
			func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" }, false, "cert wait config sts svc pod image tls ready", ""},
		"taken back: nothing is left to do": {v1alpha1.TaskWaitForSidecarTLSSecret, "r1",
			func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = nil }, false, "", ""},
		"another target, and paused": {v1alpha1.TaskWaitForSidecarTLSSecret, "r1",
			func(n *v1alpha1.SeiNode) { n.Spec.Image, n.Spec.Paused = "seid:v2", true }, false, "", IdlePaused},
		"paused alone keeps it": {v1alpha1.TaskWaitForSidecarTLSSecret, "r1",
			func(n *v1alpha1.SeiNode) { n.Spec.Paused = true }, true, "", ""},
		"the observers have passed: it runs to its end": {v1alpha1.TaskMarkReady, "r2",
			func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" }, true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := toggling(tc.until)
			was := n.Status.Plan
			tc.edit(n)
			d := Resolve(input(n, live(tc.template, "r1")), Options{})
			if tc.kept {
				require.Equal(t, was, d.Plan)
				require.False(t, d.New)
				require.Nil(t, d.Ended)
				return
			}
			require.Equal(t, was, d.Ended)
			require.Equal(t, tc.idle, d.Idle)
			require.Equal(t, tasks(tc.want), types(d.Plan))
			require.Equal(t, tc.want != "", d.New)
			if d.Plan != nil {
				require.Equal(t, int32(1), d.Plan.Attempt)
			}
		})
	}

	t.Run("an edit of a node that is being initialised", func(t *testing.T) {
		n := runningNode(nil)
		n.Status = v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseInitializing}
		n.Status.Plan = complete(BuildNodeInitPlan(input(n, nil)), v1alpha1.TaskReplacePod)
		n.Spec.Image = "seid:v2"
		d := Resolve(input(n, live("r1", "r1")), Options{})
		require.Equal(t, v1alpha1.NodeInit, d.Plan.Kind)
		require.Equal(t, "seid:v2", d.Plan.Target.Image)
	})
	t.Run("a rollback is not superseded", func(t *testing.T) {
		n := runningNode(nil)
		n.Status.Plan = BuildNodeRollbackPlan(input(n, live("r2", "r2")), toggle().Previous, v1alpha1.RollbackCause{PlanID: planA})
		n.Spec.Image = "seid:v3"
		require.Equal(t, n.Status.Plan, Resolve(input(n, live("r2", "r2")), Options{}).Plan)
	})
	t.Run("a repair gives way to an update that can start", func(t *testing.T) {
		n := runningNode(nil)
		in := drifted(input(n, live("r1", "r1")), v1alpha1.TaskApplyService)
		n.Status.Plan = BuildNodeRepairPlan(in)
		n.Spec.Image = "seid:v2"
		d := Resolve(input(n, live("r1", "r1")), Options{})
		require.Equal(t, v1alpha1.NodeUpdate, d.Plan.Kind)
		require.Equal(t, n.Status.Plan, d.Ended)

		n.Spec.Paused = true
		require.Equal(t, n.Status.Plan, Resolve(input(n, live("r1", "r1")), Options{}).Plan, "not to one that cannot")
	})
	t.Run("a node being deleted runs no task", func(t *testing.T) {
		n := toggling(v1alpha1.TaskReplacePod)
		now := microTime(t0)
		n.DeletionTimestamp = ptrTime(now)
		d := Resolve(input(n, live("r2", "r1")), Options{})
		require.Nil(t, d.Plan)
		require.Equal(t, IdleTerminating, d.Idle)
	})
}

func TestSupersedeAfterApply(t *testing.T) {
	t.Run("another target inherits previous, and its pod is cycled", func(t *testing.T) {
		n := toggling(v1alpha1.TaskReplacePod)
		n.Spec.Image = "seid:v2"
		d := Resolve(input(n, live("r2", "")), Options{})
		require.Equal(t, tasks("cert wait config sts svc pod image tls ready"), types(d.Plan))
		require.Equal(t, "r1", d.Plan.Previous.ControllerRevision)
		require.Equal(t, n.Status.Plan, d.Ended)
	})
	t.Run("a target equal to previous is a rollback", func(t *testing.T) {
		n := toggling(v1alpha1.TaskReplacePod)
		n.Spec.Sidecar.TLS = nil
		d := Resolve(input(n, live("r2", "r2")), Options{})
		require.True(t, d.New)
		require.Equal(t, v1alpha1.NodeRollback, d.Plan.Kind)
		require.Equal(t, tasks("sts svc pod image tls ready"), types(d.Plan))
		require.Equal(t, "r1", d.Plan.Task(v1alpha1.TaskApplyStatefulSet).Params.StatefulSet.FromRevision)
		require.Empty(t, d.Plan.RollsBack.Reason, "nothing failed")
		require.Equal(t, planA, d.Plan.RollsBack.PlanID)
	})
	t.Run("an image corrected while the new pod cannot start", func(t *testing.T) {
		n := runningNode(nil)
		n.Spec.Image = "seid:typo"
		n.Status.Plan = complete(build(n), v1alpha1.TaskObserveImage)
		n.Spec.Image = "seid:v2"
		d := Resolve(input(n, live("r2", "r2")), Options{})
		require.Equal(t, tasks("sts svc pod image ready"), types(d.Plan))
		require.Equal(t, "r1", d.Plan.Previous.ControllerRevision)
		require.Equal(t, "seid:v1", d.Plan.Previous.Image)
	})
	t.Run("the image was observed already: it is judged against previous", func(t *testing.T) {
		n := runningNode(nil)
		n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", issuerTLS("a")
		n.Status.Plan = complete(build(n), v1alpha1.TaskObserveSidecarTLS)
		n.Status.CurrentImage = "seid:v2"
		n.Spec.Sidecar.TLS = issuerTLS("b")
		d := Resolve(input(n, live("r2", "r2")), Options{})
		require.Equal(t, []v1alpha1.PlanCause{v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift}, d.Plan.Causes)
		require.Equal(t, tasks("cert wait config sts svc pod image tls ready"), types(d.Plan))
	})
	t.Run("a plan whose certificate is undone has it issued again", func(t *testing.T) {
		// image v2 and issuer a -> b were applied; then the issuer is put back and the image corrected. The Certificate
		// asks for issuer b: without the certificate tasks no gate would ever open again.
		n := runningNode(issuerTLS("a"))
		n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", issuerTLS("b")
		n.Status.Plan = complete(build(n), v1alpha1.TaskReplacePod)
		n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v3", issuerTLS("a")
		d := Resolve(input(n, live("r2", "r2")), Options{})
		require.Equal(t, tasks("cert wait config sts svc pod image tls ready"), types(d.Plan))
		require.Equal(t, "a", d.Plan.Task(v1alpha1.TaskApplySidecarCert).Params.SidecarCert.IssuerName)
		require.Equal(t, []v1alpha1.PlanCause{v1alpha1.ImageDrift}, d.Plan.Causes)
	})
	t.Run("paused after the template was applied: it runs to its end", func(t *testing.T) {
		n := toggling(v1alpha1.TaskReplacePod)
		n.Spec.Image, n.Spec.Paused = "seid:v2", true
		require.Equal(t, n.Status.Plan, Resolve(input(n, live("r2", "r2")), Options{}).Plan)
	})
	t.Run("a template that its controller has not seen counts as applied", func(t *testing.T) {
		n := toggling(v1alpha1.TaskApplyStatefulSet) // a crash lost the status of apply-statefulset
		n.Spec.Sidecar.TLS = nil
		s := live("r1", "r1")
		s.StatefulSet.Generation = 4
		require.Equal(t, v1alpha1.NodeRollback, Resolve(input(n, s), Options{}).Plan.Kind)
	})
	t.Run("the plan says applied and the live template does not", func(t *testing.T) {
		n := toggling(v1alpha1.TaskReplacePod)
		n.Spec.Sidecar.TLS = nil
		require.Nil(t, Resolve(input(n, live("r1", "r1")), Options{}).Plan)
	})
	t.Run("the successor of a successor still returns to the first", func(t *testing.T) {
		n := toggling(v1alpha1.TaskReplacePod)
		n.Spec.Image = "seid:v2"
		n.Status.Plan = Resolve(input(n, live("r2", "r2")), Options{}).Plan
		n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v1", nil
		d := Resolve(input(n, live("r2", "r2")), Options{})
		require.Equal(t, v1alpha1.NodeRollback, d.Plan.Kind)
		require.Equal(t, "r1", d.Plan.Previous.ControllerRevision)
	})
}

func TestRollback(t *testing.T) {
	previous := func(tls *v1alpha1.SidecarTLSConfig) v1alpha1.PlanPrevious {
		return v1alpha1.PlanPrevious{Image: "seid:v1", SidecarTLS: observed(tls), ControllerRevision: "r1", Ready: true}
	}
	for name, tc := range map[string]struct {
		running *v1alpha1.SidecarTLSConfig
		target  *v1alpha1.SidecarTLSConfig
		pod     string
		want    string
	}{
		"to off":               {nil, issuerTLS("a"), "r2", "sts svc pod image tls ready"},
		"to an issuer":         {issuerTLS("a"), issuerTLS("b"), "r2", "cert wait config sts svc pod image tls ready"},
		"to a provisioned one": {secretTLS("x"), nil, "r2", "wait config sts svc pod image tls ready"},
		"image alone":          {nil, nil, "r2", "sts svc pod image ready"},
		"the pod never went":   {nil, nil, "r1", "sts svc pod image"},
		"there is no pod":      {nil, nil, "", "sts svc pod image ready"},
	} {
		t.Run(name, func(t *testing.T) {
			n := runningNode(tc.running)
			cause := v1alpha1.RollbackCause{PlanID: planA, Target: v1alpha1.PlanTarget{Image: "seid:v2", SidecarTLS: tc.target}, Reason: "x"}
			p := BuildNodeRollbackPlan(input(n, live("r2", tc.pod)), previous(tc.running), cause)
			require.Equal(t, tasks(tc.want), types(p))
			require.Equal(t, "seid:v1", p.Target.Image)
			require.True(t, p.Target.SidecarTLS.Equal(tc.running))
			if wait := p.Task(v1alpha1.TaskWaitForSidecarTLSSecret); wait != nil {
				require.True(t, wait.Params.TLSSecret.AnySoundPair, "the node is down: any sound pair will do")
				require.True(t, p.Task(v1alpha1.TaskReplacePod).Params.ReplacePod.TLSSecret.AnySoundPair)
				require.True(t, p.Task(v1alpha1.TaskObserveSidecarTLS).Params.ObserveSidecarTLS.TLSSecret.AnySoundPair)
			}
			if ready := p.Task(v1alpha1.TaskMarkReady); ready != nil {
				require.True(t, ready.Params.MarkReady.AwaitPodReady)
			}
		})
	}
	t.Run("a second attempt releases the pod that the first one replaced", func(t *testing.T) {
		s := live("r1", "r1")
		s.Sidecar = drift.SidecarParked
		p := BuildNodeRollbackPlan(input(runningNode(nil), s), previous(nil), v1alpha1.RollbackCause{PlanID: planA})
		require.Equal(t, tasks("sts svc pod image ready"), types(p))
	})
}

func TestMarkReadyFirst(t *testing.T) {
	parked := live("r1", "r1")
	parked.Sidecar = drift.SidecarParked
	for name, change := range map[string]func(*v1alpha1.SeiNode){
		"nothing else is due": func(*v1alpha1.SeiNode) {},
		"an update is due":    func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" },
		"paused":              func(n *v1alpha1.SeiNode) { n.Spec.Image, n.Spec.Paused = "seid:v2", true },
		"held": func(n *v1alpha1.SeiNode) {
			n.Spec.Image = "seid:v2"
			n.Status.Hold = &v1alpha1.Hold{Target: drift.Target(n)}
		},
		"blocked": func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = secretTLS("missing") },
		"an update failed and waits": func(n *v1alpha1.SeiNode) {
			n.Spec.Image = "seid:v2"
			at := microTime(t0.Add(1e12))
			n.Status.Plan = failAt(build(n), v1alpha1.TaskApplyStatefulSet)
			n.Status.Plan.RetryAt = &at
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := runningNode(issuerTLS("a"))
			change(n)
			s := *parked
			s.TargetVerdict, s.CurrentVerdict = nil, nil
			d := Resolve(drifted(input(n, &s), v1alpha1.TaskApplyService), Options{})
			require.True(t, d.New)
			require.Equal(t, v1alpha1.MarkReady, d.Plan.Kind)
			require.Equal(t, tasks("ready"), types(d.Plan))
			require.True(t, d.Plan.Target.Equal(v1alpha1.PlanTarget{Image: "seid:v1", SidecarTLS: issuerTLS("a")}), "what runs, not what is wished for")
			require.False(t, d.Plan.Tasks[0].Params.MarkReady.AwaitPodReady)
		})
	}
	t.Run("an active update whose template is not applied gives way", func(t *testing.T) {
		n := toggling(v1alpha1.TaskWaitForSidecarTLSSecret)
		d := Resolve(input(n, parked), Options{})
		require.Equal(t, v1alpha1.MarkReady, d.Plan.Kind)
		require.Equal(t, n.Status.Plan, d.Ended)
	})
	t.Run("unless the pod came back on a newer template already, which a lagging cache does not show", func(t *testing.T) {
		n := toggling(v1alpha1.TaskApplyStatefulSet)
		s := live("r1", "r2")
		s.Sidecar = drift.SidecarParked
		require.Equal(t, n.Status.Plan, Resolve(input(n, s), Options{}).Plan)
	})
	t.Run("so does an issuer swap, which applies none", func(t *testing.T) {
		n := runningNode(issuerTLS("a"))
		n.Spec.Sidecar.TLS = issuerTLS("b")
		n.Status.Plan = complete(build(n), v1alpha1.TaskObserveSidecarTLS)
		require.Equal(t, v1alpha1.MarkReady, Resolve(input(n, parked), Options{}).Plan.Kind)
	})
	t.Run("and a repair", func(t *testing.T) {
		n := runningNode(nil)
		n.Status.Plan = BuildNodeRepairPlan(drifted(input(n, live("r1", "r1")), v1alpha1.TaskApplyService))
		require.Equal(t, v1alpha1.MarkReady, Resolve(input(n, parked), Options{}).Plan.Kind)
	})
	t.Run("one whose template is applied does not: its own mark-ready comes", func(t *testing.T) {
		n := toggling(v1alpha1.TaskReplacePod)
		s := live("r2", "r1")
		s.Sidecar = drift.SidecarParked
		require.Equal(t, n.Status.Plan, Resolve(input(n, s), Options{}).Plan)
	})
	t.Run("once the sidecar released seid an edit does not wait for seid", func(t *testing.T) {
		n := runningNode(nil)
		n.Status.Plan = BuildMarkReadyPlan(input(n, parked))
		n.Spec.Image = "seid:v2"
		require.Equal(t, n.Status.Plan, Resolve(input(n, parked), Options{}).Plan, "still parked")
		d := Resolve(input(n, live("r1", "r1")), Options{})
		require.Equal(t, v1alpha1.NodeUpdate, d.Plan.Kind)
		n.Spec.Paused = true
		require.Equal(t, n.Status.Plan, Resolve(input(n, live("r1", "r1")), Options{}).Plan, "an update that cannot start takes no place")
	})
}
