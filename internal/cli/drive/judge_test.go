package drive

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/settings"
)

func running() *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{}
	n.Namespace, n.Name, n.Generation = "fleet", "ax-0", 2
	n.Spec = v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "v1", FullNode: &v1alpha1.FullNodeSpec{}}
	n.Status = v1alpha1.SeiNodeStatus{ObservedGeneration: 2, Phase: v1alpha1.PhaseRunning, CurrentImage: "v1"}
	return n
}

func TestJudge(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	active := &v1alpha1.Plan{ID: "p", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive,
		Tasks: []v1alpha1.Task{{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskRunning}}}
	failedBefore := &v1alpha1.Plan{Phase: v1alpha1.PlanFailed, StartedAt: metav1.NewMicroTime(began.Add(-time.Hour))}
	for _, c := range []struct {
		name    string
		change  func(*v1alpha1.SeiNode)
		idle    plan.IdleReason
		settled bool
		want    State
	}{
		{"settled", nil, "", true, Done},
		{"an older spec", func(n *v1alpha1.SeiNode) { n.Generation = 1 }, "", true, Working},
		{"status of an older spec", func(n *v1alpha1.SeiNode) { n.Status.ObservedGeneration = 1 }, "", true, Working},
		{"plan under way", func(n *v1alpha1.SeiNode) { n.Status.Plan = active }, "", false, Working},
		{"plan paused", func(n *v1alpha1.SeiNode) { n.Status.Plan = active }, plan.IdlePaused, false, Paused},
		{"paused", nil, plan.IdlePaused, false, Paused},
		{"held", func(n *v1alpha1.SeiNode) { n.Status.Hold = &v1alpha1.Hold{Reason: "no"} }, plan.IdleHeld, false, Failed},
		{"blocked", nil, plan.IdleBlocked, false, Failed},
		{"failed now", nil, plan.IdleBackoff, false, Failed},
		{"failed before", func(n *v1alpha1.SeiNode) { n.Status.Plan = failedBefore }, plan.IdleBackoff, false, Working},
		{"due", nil, "", false, Working},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := running()
			if c.change != nil {
				c.change(n)
			}
			g := Goal{Generation: 2, Since: began}
			require.Equal(t, c.want, g.judge(n, c.idle, "detail", c.settled).State)
		})
	}
	require.Equal(t, exit.Failed, Failed.Code())
	require.Equal(t, exit.Paused, Paused.Code())
	require.Equal(t, exit.OK, Done.Code())
}

func TestJudgeNamesTheCommand(t *testing.T) {
	n := running()
	n.Status.Hold = &v1alpha1.Hold{Reason: "observe-sidecar-tls: port closed"}
	n.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionNodeUpdateInProgress, Reason: v1alpha1.ReasonRolledBack}}
	g := Goal{Generation: 2}
	require.Equal(t, "rolled back to what ran before: observe-sidecar-tls: port closed; held: next: change the spec, or seictl node retry ax-0 -n fleet",
		g.judge(n, plan.IdleHeld, "", false).Detail)
}

func TestOutcomeOfStatus(t *testing.T) {
	in := func(n *v1alpha1.SeiNode) preview.Input { return preview.Input{Node: n, Settings: settings.Default()} }
	n := running()
	require.True(t, Outcome(n, in(n)).Settled)
	n.Spec.Image = "v2"
	require.False(t, Outcome(n, in(n)).Settled)
	n.Spec.Paused = true
	require.Equal(t, plan.IdlePaused, Outcome(n, in(n)).Idle)
}
