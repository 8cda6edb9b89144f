package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/tasks"
)

// concluded is a pass over a node that ran its tasks, for the conditions that follow. It begins with a node that is as it
// should be.
type concluded struct{ *pass }

func conclude(t *testing.T, tls *v1alpha1.SidecarTLSConfig, change func(*concluded)) *v1alpha1.SeiNode {
	t.Helper()
	n := running(tls)
	n.Generation = 7
	s := settings.Default()
	s.SidecarImage = "sidecar:v1"
	c := &concluded{&pass{
		Engine: New(Options{}), node: n, now: t0, settings: s,
		snapshot: &drift.Snapshot{
			Pod: &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "n0-0"},
				Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
			},
			Sidecar: drift.SidecarOK,
		},
	}}
	if tls != nil {
		c.snapshot.CurrentVerdict = &certs.Verdict{Ready: true, Reason: v1alpha1.ReasonTLSSecretReady}
	}
	change(c)
	c.orig = c.node.DeepCopy()
	c.report = drift.Evaluate(drift.Input{Node: c.node, Settings: &c.settings})
	c.conclude()
	for _, cond := range c.node.Status.Conditions {
		require.Equal(t, int64(7), cond.ObservedGeneration, cond.Type)
		require.NotEmpty(t, cond.Reason)
		require.NotEmpty(t, cond.Message, "%s %s", cond.Type, cond.Reason)
	}
	require.Equal(t, int64(7), c.node.Status.ObservedGeneration)
	return c.node
}

func (c *concluded) active(kind v1alpha1.PlanKind, causes ...v1alpha1.PlanCause) *v1alpha1.Plan {
	c.node.Status.Plan = &v1alpha1.Plan{ID: "p", Kind: kind, Phase: v1alpha1.PlanActive, Causes: causes, Tasks: []v1alpha1.Task{
		{Type: v1alpha1.TaskApplyStatefulSet}, {Type: v1alpha1.TaskMarkReady},
	}}
	return c.node.Status.Plan
}

func (c *concluded) end(kind v1alpha1.PlanKind, outcome v1alpha1.PlanPhase) *v1alpha1.Plan {
	p := &v1alpha1.Plan{ID: "p", Kind: kind, RollsBack: &v1alpha1.RollbackCause{Reason: "it broke"}}
	c.ended = append(c.ended, endedPlan{plan: p, outcome: outcome})
	return p
}

func (c *concluded) had(conditionType string, status metav1.ConditionStatus, reason string) {
	meta.SetStatusCondition(&c.node.Status.Conditions, metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: "x"})
}

func TestUpdateInProgress(t *testing.T) {
	const typ = v1alpha1.ConditionNodeUpdateInProgress
	image, tls := v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift
	for name, tc := range map[string]struct {
		change func(*concluded)
		want   string
	}{
		"never updated": {func(*concluded) {}, ""},
		"image":         {func(c *concluded) { c.active(v1alpha1.NodeUpdate, image) }, "True UpdateStarted"},
		"TLS":           {func(c *concluded) { c.active(v1alpha1.NodeUpdate, tls) }, "True TLSToggleStarted"},
		"both":          {func(c *concluded) { c.active(v1alpha1.NodeUpdate, image, tls) }, "True UpdateAndTLSToggleStarted"},
		"queued": {func(c *concluded) {
			c.active(v1alpha1.NodeUpdate, tls)
			c.decision.Idle, c.decision.Detail = idleQueued, "n1"
		}, "True UpdateQueued"},
		"a rollback keeps the reason": {func(c *concluded) {
			c.active(v1alpha1.NodeRollback)
			c.had(typ, metav1.ConditionTrue, v1alpha1.ReasonTLSToggleStarted)
		}, "True TLSToggleStarted"},
		"initialising is no update": {func(c *concluded) { c.active(v1alpha1.NodeInit) }, ""},
		"complete":                  {func(c *concluded) { c.end(v1alpha1.NodeUpdate, v1alpha1.PlanComplete) }, "False UpdateComplete"},
		"failed": {func(c *concluded) {
			c.end(v1alpha1.NodeUpdate, v1alpha1.PlanFailed)
			c.decision.Idle, c.decision.Detail = plan.IdleHeld, "why"
		}, "False UpdateFailed"},
		"rolled back":       {func(c *concluded) { c.end(v1alpha1.NodeRollback, v1alpha1.PlanComplete) }, "False RolledBack"},
		"put back":          {func(c *concluded) { c.end(v1alpha1.NodeRollback, v1alpha1.PlanComplete).RollsBack.Reason = "" }, "False Superseded"},
		"a rollback failed": {func(c *concluded) { c.end(v1alpha1.NodeRollback, v1alpha1.PlanFailed) }, "False UpdateFailed"},
		"superseded":        {func(c *concluded) { c.end(v1alpha1.NodeUpdate, v1alpha1.PlanSuperseded) }, "False Superseded"},
		"superseded by another update": {func(c *concluded) {
			c.end(v1alpha1.NodeUpdate, v1alpha1.PlanSuperseded)
			c.active(v1alpha1.NodeUpdate, image)
		}, "True UpdateStarted"},
		"superseded by a MarkReady": {func(c *concluded) {
			c.had(typ, metav1.ConditionTrue, v1alpha1.ReasonUpdateStarted)
			c.end(v1alpha1.NodeUpdate, v1alpha1.PlanSuperseded)
			c.active(v1alpha1.MarkReady)
		}, "False Superseded"},
		"blocked": {func(c *concluded) { c.decision.Idle, c.decision.Detail = plan.IdleBlocked, "no Secret" }, "False UpdateBlocked"},
		"blocked no more": {func(c *concluded) {
			c.had(typ, metav1.ConditionFalse, v1alpha1.ReasonUpdateBlocked)
		}, "False Superseded"},
		"other plans leave it alone": {func(c *concluded) {
			c.had(typ, metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
			c.end(v1alpha1.NodeRepair, v1alpha1.PlanComplete)
		}, "False RolledBack"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, condition(conclude(t, nil, tc.change), typ))
		})
	}
}

func TestSecretReady(t *testing.T) {
	const typ = v1alpha1.ConditionSidecarTLSSecretReady
	verdict := func(v certs.Verdict) func(*concluded) {
		return func(c *concluded) { v.Message = "x"; c.snapshot.CurrentVerdict = &v }
	}
	require.Empty(t, condition(conclude(t, nil, func(*concluded) {}), typ), "absent while TLS is off")
	for _, reason := range []string{
		v1alpha1.ReasonTLSSecretNotFound, v1alpha1.ReasonTLSSecretMalformed, v1alpha1.ReasonTLSSecretExpired,
		v1alpha1.ReasonTLSSecretNotYetValid, v1alpha1.ReasonTLSSecretIssuerMismatch, v1alpha1.ReasonTLSSecretSANsMismatch,
	} {
		n := conclude(t, issuerTLS("a"), verdict(certs.Verdict{Reason: reason}))
		require.Equal(t, "False "+reason, condition(n, typ))
		require.Equal(t, "False "+reason, condition(n, v1alpha1.ConditionReady))
	}
	n := conclude(t, issuerTLS("a"), verdict(certs.Verdict{Ready: true, Reason: v1alpha1.ReasonTLSSecretReady}))
	require.Equal(t, "True TLSSecretReady", condition(n, typ))
	require.Equal(t, "n0-sidecar-tls", n.Status.SidecarTLS.SecretName)
	require.Len(t, n.Status.SidecarTLS.RequiredDNSNames, 2)

	n = conclude(t, issuerTLS("a"), verdict(certs.Verdict{Unknown: true, Reason: v1alpha1.ReasonTLSSecretUnavailable}))
	require.Equal(t, "Unknown TLSSecretUnavailable", condition(n, typ))

	// TLS was removed: condition and contract go.
	n = conclude(t, nil, func(c *concluded) {
		c.had(typ, metav1.ConditionTrue, v1alpha1.ReasonTLSSecretReady)
		c.node.Status.SidecarTLS = &v1alpha1.SidecarTLSContract{SecretName: "x"}
	})
	require.Empty(t, condition(n, typ))
	require.Nil(t, n.Status.SidecarTLS)
}

func TestSidecarReady(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*concluded)
		want   string
	}{
		"200":          {func(*concluded) {}, "True Ready"},
		"503":          {func(c *concluded) { c.snapshot.Sidecar = drift.SidecarParked }, "False NotReady"},
		"no answer":    {func(c *concluded) { c.snapshot.Sidecar = drift.SidecarUnreachable }, "Unknown Unreachable"},
		"no pod":       {func(c *concluded) { c.snapshot.Sidecar, c.snapshot.Pod = "", nil }, "Unknown Unreachable"},
		"initialising": {func(c *concluded) { c.snapshot.Sidecar, c.node.Status.Phase = "", v1alpha1.PhaseInitializing }, "False NotReady"},
		"in a pod cycle": {func(c *concluded) {
			c.snapshot.Sidecar = ""
			c.active(v1alpha1.NodeUpdate).Tasks[0].Status = v1alpha1.TaskComplete
		}, "False NotReady"},
		"the pod goes": {func(c *concluded) {
			at := metav1.NewTime(t0)
			c.snapshot.Sidecar, c.snapshot.Pod.DeletionTimestamp = "", &at
		}, "Unknown Unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, condition(conclude(t, nil, tc.change), v1alpha1.ConditionSidecarReady))
		})
	}
}

// The first thing that is not as it should be decides.
func TestReadyDerivation(t *testing.T) {
	at := metav1.NewTime(t0)
	v2 := func(c *concluded) { c.node.Spec.Image = "seid:v2" }
	for name, tc := range map[string]struct {
		change func(*concluded)
		want   string
	}{
		"as it should be":       {func(*concluded) {}, "True Ready"},
		"being deleted":         {func(c *concluded) { c.node.DeletionTimestamp = &at; v2(c) }, "False Terminating"},
		"a foreign controller":  {func(c *concluded) { c.snapshot.ForeignController, c.out.Detail = "seinode-controller", "x" }, "False ForeignController"},
		"initialisation failed": {func(c *concluded) { c.node.Status.Phase = v1alpha1.PhaseFailed }, "False InitFailed"},
		"initialising":          {func(c *concluded) { c.node.Status.Phase = v1alpha1.PhaseInitializing }, "False Initializing"},
		"never seen":            {func(c *concluded) { c.node.Status.Phase = "" }, "False Initializing"},
		"an update in progress": {func(c *concluded) { v2(c); c.active(v1alpha1.NodeUpdate, v1alpha1.ImageDrift) }, "False UpdateStarted"},
		"paused":                {func(c *concluded) { v2(c); c.decision.Idle = plan.IdlePaused }, "False Paused"},
		"paused in mid-plan":    {func(c *concluded) { v2(c); c.active(v1alpha1.NodeUpdate); c.decision.Idle = plan.IdlePaused }, "False Paused"},
		"held after a rollback": {func(c *concluded) {
			v2(c)
			c.decision.Idle = plan.IdleHeld
			c.had(v1alpha1.ConditionNodeUpdateInProgress, metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
		}, "False RolledBack"},
		"blocked":           {func(c *concluded) { v2(c); c.decision.Idle, c.decision.Detail = plan.IdleBlocked, "x" }, "False UpdateBlocked"},
		"drift":             {func(c *concluded) { v2(c); c.decision.Idle = plan.IdleBackoff }, "False Drift"},
		"the pod is not":    {func(c *concluded) { c.snapshot.Pod.Status.Conditions = nil }, "False PodNotReady"},
		"there is no pod":   {func(c *concluded) { c.snapshot.Pod = nil }, "False PodNotReady"},
		"the pod goes":      {func(c *concluded) { c.snapshot.Pod.DeletionTimestamp = &at }, "False PodNotReady"},
		"a finished update": {func(c *concluded) { c.end(v1alpha1.NodeUpdate, v1alpha1.PlanComplete) }, "True Ready"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, condition(conclude(t, nil, tc.change), v1alpha1.ConditionReady))
		})
	}
}

// In the pass that completes a plan the conditions speak of what was stamped, not of the drift that it removed.
func TestConditionsFollowTheStamps(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.settle()
	for _, e := range w.events {
		require.NotContains(t, e, " Drift ")
	}
	require.Equal(t, "True Ready", condition(w.node(), v1alpha1.ConditionReady))
}

func TestEvents(t *testing.T) {
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.settle()
	require.Contains(t, w.events, "Normal Ready Ready=True: the pod is Ready, nothing drifted")
	w.events = nil
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = secretTLS("x") })
	w.settle()
	require.Len(t, w.events, 3, "one for every condition that moved: %v", w.events)
	for _, e := range w.events {
		require.Contains(t, e, "Warning ")
	}
	w.now = w.now.Add(time.Minute)
	w.settle()
	require.Len(t, w.events, 3, "and none for those that did not")
}

// A driver stops at the first pass that says Settled: its conditions must be the last word on the certificate swapped to.
func TestSettledSwapSpeaksOfTheNewCertificate(t *testing.T) {
	n := running(issuerTLS("old-ca"))
	w := newWorld(t, n, stamp(t, n, objects(t, n))...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS = issuerTLS("new-ca") })
	w.script[v1alpha1.TaskWaitForSidecarTLSSecret] = func(in tasks.Input) (tasks.Result, error) {
		w.put(pair(t, in.Node, issuerTLS("new-ca"), t0.Add(time.Hour)))
		return tasks.Completed(nil), nil
	}
	w.script[v1alpha1.TaskObserveSidecarTLS] = func(in tasks.Input) (tasks.Result, error) {
		delete(w.script, v1alpha1.TaskObserveSidecarTLS)
		return tasks.WaitPolling(time.Second, "the old leaf is served"), nil
	}
	for range 20 {
		if w.pass().Settled {
			break
		}
		w.now = w.now.Add(progressDelay)
	}
	got := w.node()
	require.Equal(t, "ClusterIssuer/new-ca", got.Status.CurrentSidecarTLS.Config().String())
	require.Equal(t, "True TLSSecretReady", condition(got, v1alpha1.ConditionSidecarTLSSecretReady))
	require.Equal(t, "True Ready", condition(got, v1alpha1.ConditionReady))
}
