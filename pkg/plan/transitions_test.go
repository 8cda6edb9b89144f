package plan

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

// Short names of tasks, as the table of section 5 of the design has them.
var short = map[string]v1alpha1.TaskType{
	"cert": v1alpha1.TaskApplySidecarCert, "wait": v1alpha1.TaskWaitForSidecarTLSSecret,
	"config": v1alpha1.TaskApplyRBACProxyConfig, "sts": v1alpha1.TaskApplyStatefulSet, "svc": v1alpha1.TaskApplyService,
	"pod": v1alpha1.TaskReplacePod, "image": v1alpha1.TaskObserveImage, "tls": v1alpha1.TaskObserveSidecarTLS,
	"ready": v1alpha1.TaskMarkReady, "rm-config": v1alpha1.TaskDeleteRBACProxyConfig, "rm-cert": v1alpha1.TaskDeleteSidecarCert,
	"pvc": v1alpha1.TaskEnsureDataPVC, "apply-cfg": v1alpha1.TaskConfigApply, "validate": v1alpha1.TaskConfigValidate,
}

func tasks(list string) (out []v1alpha1.TaskType) {
	for _, name := range strings.Fields(list) {
		t, ok := short[name]
		if !ok {
			panic("no task " + name)
		}
		out = append(out, t)
	}
	return out
}

func TestTransitionTable(t *testing.T) {
	a, b, x, y := issuerTLS("a"), issuerTLS("b"), secretTLS("x"), secretTLS("y")
	const (
		updateReason = v1alpha1.ReasonUpdateStarted
		toggleReason = v1alpha1.ReasonTLSToggleStarted
		bothReason   = v1alpha1.ReasonUpdateAndTLSToggleStarted
	)
	for _, tc := range []struct {
		name     string
		from, to *v1alpha1.SidecarTLSConfig
		// alone is the plan for TLS alone, cycles its pod cycles; beside is the plan with an image update in one edit.
		alone  string
		cycles int
		beside string
	}{
		{"off to issuer", nil, a, "cert wait config sts svc pod tls ready", 1, "cert wait config sts svc pod image tls ready"},
		{"off to secret", nil, x, "wait config sts svc pod tls ready", 1, "wait config sts svc pod image tls ready"},
		{"issuer to issuer", a, b, "cert wait tls", 0, "cert wait config sts svc pod image tls ready"},
		{"issuer to secret", a, x, "wait config sts svc pod tls ready rm-cert", 1, "wait config sts svc pod image tls ready rm-cert"},
		{"secret to issuer", x, a, "cert wait config sts svc pod tls ready", 1, "cert wait config sts svc pod image tls ready"},
		{"secret to secret", x, y, "wait config sts svc pod tls ready", 1, "wait config sts svc pod image tls ready"},
		{"issuer to off", a, nil, "sts svc pod tls ready rm-config rm-cert", 1, "sts svc pod image tls ready rm-config rm-cert"},
		{"secret to off", x, nil, "sts svc pod tls ready rm-config", 1, "sts svc pod image tls ready rm-config"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := consent(runningNode(tc.from))
			n.Spec.Sidecar.TLS = tc.to
			requirePlan(t, build(n), tc.alone, toggleReason, tc.cycles, v1alpha1.SidecarTLSDrift)

			n.Spec.Image = "seid:v2"
			requirePlan(t, build(n), tc.beside, bothReason, 1, v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift)
		})
	}

	for name, tls := range map[string]*v1alpha1.SidecarTLSConfig{"TLS off": nil, "issuer": a, "secret": x} {
		t.Run("image only, "+name, func(t *testing.T) {
			n := runningNode(tls)
			n.Spec.Image = "seid:v2"
			p := build(n)
			requirePlan(t, p, "sts svc pod image ready", updateReason, 1, v1alpha1.ImageDrift)
			require.Equal(t, tls != nil, p.Task(v1alpha1.TaskReplacePod).Params.ReplacePod.TLSSecret != nil,
				"the Secret that the template mounts is judged again before the delete")
		})
	}

	t.Run("removal without consent beside an image update keeps TLS", func(t *testing.T) {
		n := runningNode(a)
		n.Spec.Sidecar, n.Spec.Image = nil, "seid:v2"
		p := build(n)
		requirePlan(t, p, "sts svc pod image ready", updateReason, 1, v1alpha1.ImageDrift)
		require.True(t, p.Target.SidecarTLS.Equal(a))
		require.NotNil(t, p.Task(v1alpha1.TaskApplyStatefulSet).Params.StatefulSet.Template.TLS)
	})

	for name, change := range map[string]func(*v1alpha1.SeiNode){
		"nothing differs":           func(*v1alpha1.SeiNode) {},
		"the defaulted issuer kind": func(n *v1alpha1.SeiNode) { n.Spec.Sidecar.TLS.IssuerKind = "ClusterIssuer" },
		"removal without consent":   func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = nil },
		"paused, and nothing due":   func(n *v1alpha1.SeiNode) { n.Spec.Paused = true },
	} {
		t.Run("no plan: "+name, func(t *testing.T) {
			n := runningNode(issuerTLS("a"))
			change(n)
			require.Nil(t, build(n))
			d := Resolve(input(n, live("r1", "r1")), Options{})
			require.Nil(t, d.Plan)
			require.Equal(t, NotIdle, d.Idle)
		})
	}
}

func requirePlan(t *testing.T, p *v1alpha1.Plan, list, reason string, cycles int, causes ...v1alpha1.PlanCause) {
	t.Helper()
	require.NotNil(t, p)
	require.Equal(t, v1alpha1.NodeUpdate, p.Kind)
	require.Equal(t, tasks(list), types(p))
	require.Equal(t, causes, p.Causes)
	require.Equal(t, reason, NodeUpdateReason(p.Causes))
	require.Equal(t, cycles, PodCycles(p))
	require.LessOrEqual(t, strings.Count(list, "pod"), 1, "at most one pod cycle")
	for i := range p.Tasks {
		require.Equal(t, v1alpha1.TaskPending, p.Tasks[i].Status)
		require.NotEmpty(t, p.Tasks[i].Why)
		require.Equal(t, TaskID(p.ID, p.Tasks[i].Type, i), p.Tasks[i].ID)
		require.NotEqual(t, v1alpha1.TaskParams{}, p.Tasks[i].Params, "%s has params", p.Tasks[i].Type)
	}
}

func TestPausedStandsStill(t *testing.T) {
	n := runningNode(nil)
	n.Spec.Image, n.Spec.Paused = "seid:v2", true
	d := Resolve(input(n, live("r1", "r1")), Options{})
	require.Nil(t, d.Plan)
	require.Equal(t, IdlePaused, d.Idle)

	n.Status.Phase = v1alpha1.PhasePending
	require.Equal(t, IdlePaused, Resolve(input(n, nil), Options{}).Idle)
}

func TestNodeInit(t *testing.T) {
	for name, tc := range map[string]struct {
		tls  *v1alpha1.SidecarTLSConfig
		want string
	}{
		"TLS off":     {nil, "pvc sts svc pod image apply-cfg validate ready"},
		"issuer":      {issuerTLS("a"), "pvc cert wait config sts svc pod image tls apply-cfg validate ready"},
		"provisioned": {secretTLS("x"), "pvc wait config sts svc pod image tls apply-cfg validate ready"},
	} {
		t.Run(name, func(t *testing.T) {
			n := runningNode(tc.tls)
			n.Status = v1alpha1.SeiNodeStatus{}
			d := Resolve(input(n, &drift0), Options{})
			require.True(t, d.New)
			p := d.Plan
			require.Equal(t, v1alpha1.NodeInit, p.Kind)
			require.Equal(t, tasks(tc.want), types(p))
			require.Zero(t, PodCycles(p), "no running pod is replaced")
			require.Equal(t, v1alpha1.PhaseFailed, p.FailedPhase)
			require.Equal(t, v1alpha1.PlanPrevious{}, p.Previous)
			require.False(t, p.Task(v1alpha1.TaskMarkReady).Params.MarkReady.AwaitPodReady, "syncing can take days")

			// Once it is stamped nothing is due: no second pod cycle follows.
			n.Status = v1alpha1.SeiNodeStatus{
				Phase: p.TargetPhase, CurrentImage: p.Target.Image, CurrentSidecarTLS: observed(p.Target.SidecarTLS),
			}
			require.Nil(t, Resolve(input(n, live("r1", "r1")), Options{}).Plan)
		})
	}
}

func TestNodeRepair(t *testing.T) {
	n := runningNode(issuerTLS("a"))
	in := input(n, live("r1", "r1"))
	for _, task := range tasks("rm-cert svc cert") {
		in = drifted(in, task)
	}
	p := BuildRunningPlan(in)
	require.Equal(t, v1alpha1.NodeRepair, p.Kind)
	require.Equal(t, []v1alpha1.PlanCause{v1alpha1.ObjectDrift}, p.Causes)
	require.Equal(t, tasks("cert svc rm-cert"), types(p), "in the order of an update, whatever the order of the findings")
	require.Zero(t, PodCycles(p))
	require.Equal(t, "a", p.Task(v1alpha1.TaskApplySidecarCert).Params.SidecarCert.IssuerName)
}
