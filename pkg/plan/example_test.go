package plan_test

import (
	"fmt"
	"time"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/settings"
)

// input is a node that runs v1 and should run v2, at noon.
func input() plan.Input {
	node := &v1alpha1.SeiNode{
		Spec:   v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "seid:v2", FullNode: &v1alpha1.FullNodeSpec{}},
		Status: v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1"},
	}
	node.Name, node.Namespace = "ax-0", "fleet"
	platform := settings.Default()
	platform.SidecarImage = "sidecar:v1"
	return plan.Input{
		Node: node, Drift: drift.Evaluate(drift.Input{Node: node, Settings: &platform}), Settings: &platform,
		Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), ID: "7b0f6c5e-6a37-4f0e-9c39-0c2b1f7f3a11",
	}
}

// All drift found becomes one plan.
func ExampleBuildRunningPlan() {
	for _, line := range plan.Describe(plan.BuildRunningPlan(input())) {
		fmt.Println(line)
	}
	// Output:
	// NodeUpdate (ImageDrift): 5 tasks, one pod cycle
	//   1. apply-statefulset  Pending  seid runs seid:v2
	//   2. apply-service      Pending  the Service publishes the ports of the new pod
	//   3. replace-pod        Pending  the pod restarts on the new template: the one pod cycle
	//   4. observe-image      Pending  status.currentImage says what was observed
	//   5. mark-ready         Pending  seid starts only now: up to here everything can be taken back
}

// What a task brought moves the plan forward, or ends it.
func ExampleAdvance() {
	in := input()
	p := plan.BuildRunningPlan(in)
	for _, run := range []plan.Run{{Message: "waiting"}, {Done: true}} {
		i := plan.Current(p)
		plan.Start(p, i, in.Settings, in.Now)
		fmt.Println(p.Tasks[i].Type, plan.Advance(p, i, run, in.Settings, in.Now))
	}
	i := plan.Current(p)
	plan.Start(p, i, in.Settings, in.Now)
	fmt.Println(p.Tasks[i].Type, plan.Advance(p, i, plan.Run{Err: fmt.Errorf("no"), Terminal: true}, in.Settings, in.Now))
	fmt.Println(p.Phase, p.FailedTaskDetail)
	// Output:
	// apply-statefulset Wait
	// apply-statefulset Next
	// apply-service Failed
	// Failed apply-service: no
}

// A paused node shows why nothing runs.
func ExampleResolve() {
	in := input()
	in.Node.Spec.Paused = true
	d := plan.Resolve(in, plan.Options{})
	fmt.Println(d.Plan == nil, d.Idle, d.Detail)
	// Output:
	// true Paused spec.paused is true: the update starts when it is false
}
