package plan

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

func TestPlanIsLatched(t *testing.T) {
	n := runningNode(issuerTLS("a"))
	n.Spec.PodLabels = map[string]string{"team": "infra"}
	n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", issuerTLS("b")
	in := input(n, live("r1", "r1"))
	p := BuildRunningPlan(in)
	was := p.DeepCopy()
	require.Equal(t, v1alpha1.PlanPrevious{
		Image: "seid:v1", SidecarTLS: observed(issuerTLS("a")), ControllerRevision: "r1", Ready: true,
	}, p.Previous)

	// Nothing that happens to the node, its drift or the settings reaches the plan.
	n.Spec.Image = "seid:v3"
	n.Spec.Sidecar.TLS.IssuerName = "c"
	n.Spec.PodLabels["team"] = "other"
	n.Status.CurrentImage = "seid:v9"
	n.Status.CurrentSidecarTLS.IssuerName = "z"
	if in.Drift.Target.SidecarTLS != nil {
		in.Drift.Target.SidecarTLS.IssuerName = "y"
	}
	in.Settings.ProxyImage = "proxy:v9"
	require.Equal(t, was, p)

	// No two tasks share memory either.
	p.Task(v1alpha1.TaskWaitForSidecarTLSSecret).Params.TLSSecret.DNSNames[0] = "changed"
	require.NotEqual(t, "changed", p.Task(v1alpha1.TaskObserveSidecarTLS).Params.ObserveSidecarTLS.TLSSecret.DNSNames[0])
	require.NotEqual(t, "changed", p.Task(v1alpha1.TaskReplacePod).Params.ReplacePod.TLSSecret.DNSNames[0])
}

func TestPlanRoundTrips(t *testing.T) {
	n := runningNode(secretTLS("x"))
	n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", issuerTLS("b")
	n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = "2026"
	for _, p := range []*v1alpha1.Plan{
		build(n),
		failAt(build(n), v1alpha1.TaskReplacePod),
		BuildNodeRollbackPlan(input(n, live("r2", "r2")), build(n).Previous, v1alpha1.RollbackCause{PlanID: planA, Reason: "x"}),
		BuildNodeInitPlan(input(n, nil)),
	} {
		raw, err := json.Marshal(p)
		require.NoError(t, err)
		var back v1alpha1.Plan
		require.NoError(t, json.Unmarshal(raw, &back))
		again, err := json.Marshal(&back)
		require.NoError(t, err)
		require.JSONEq(t, string(raw), string(again))
		require.Equal(t, types(p), types(&back))
		require.True(t, p.StartedAt.Time.Equal(back.StartedAt.Time))
		require.Equal(t, Describe(p), Describe(&back))
	}
}

func TestTaskIDs(t *testing.T) {
	ids := []string{TaskID(planA, "x", 1), TaskID(planA, "x", 2), TaskID(planA, "y", 1), TaskID(planB, "x", 1)}
	// A plan under way keeps its ids from one version of seictl to the next.
	require.Equal(t, uuid.NewSHA1(taskNamespace, []byte(planA+"/x/1")).String(), ids[0])
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), 4)
}

func TestClassify(t *testing.T) {
	image, tls, object := v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift, v1alpha1.ObjectDrift
	for _, tc := range []struct {
		kind   v1alpha1.PlanKind
		causes []v1alpha1.PlanCause
		want   string
	}{
		{v1alpha1.NodeInit, nil, "init"},
		{v1alpha1.NodeUpdate, []v1alpha1.PlanCause{image}, "node-update"},
		{v1alpha1.NodeUpdate, []v1alpha1.PlanCause{tls}, "tls-toggle"},
		{v1alpha1.NodeUpdate, []v1alpha1.PlanCause{image, tls}, "node-update-tls"},
		{v1alpha1.NodeUpdate, []v1alpha1.PlanCause{tls, image}, "node-update-tls"},
		{v1alpha1.MarkReady, nil, "mark-ready"},
		{v1alpha1.NodeRollback, []v1alpha1.PlanCause{image, tls}, "rollback"},
		{v1alpha1.NodeRepair, []v1alpha1.PlanCause{object}, "repair"},
	} {
		require.Equal(t, tc.want, Classify(tc.kind, tc.causes))
	}
	// Kind and causes are stored: a plan that lost its tasks is still what it was.
	n := runningNode(nil)
	n.Spec.Sidecar.TLS = issuerTLS("a")
	p := build(n)
	p.Tasks = nil
	require.Equal(t, ClassTLSToggle, Classify(p.Kind, p.Causes))
}

func TestDescribe(t *testing.T) {
	require.Equal(t, []string{"no plan: nothing to do"}, Describe(nil))
	n := runningNode(issuerTLS("a"))
	n.Spec.Sidecar.TLS = issuerTLS("b")
	require.Equal(t, []string{
		"NodeUpdate (SidecarTLSDrift): 3 tasks, no pod cycle",
		"  1. apply-sidecar-cert           Pending  the certificate comes from ClusterIssuer/b",
		"  2. wait-for-sidecar-tls-secret  Pending  nothing is restarted before the Secret is sound and of the right issuer",
		"  3. observe-sidecar-tls          Pending  the proxy reloads by itself; done once the new leaf is served",
	}, Describe(build(n)))
	require.Equal(t, "MarkReady: 1 task, no pod cycle", Headline(BuildMarkReadyPlan(input(n, live("r1", "r1")))))
}

func BenchmarkDriftAndPlan(b *testing.B) {
	n := runningNode(issuerTLS("a"))
	n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", issuerTLS("b")
	s := testSettings()
	b.ReportAllocs()
	for b.Loop() {
		in := Input{Node: n, Settings: s, Now: t0, ID: planB, Drift: drift.Evaluate(drift.Input{Node: n, Settings: s})}
		if BuildRunningPlan(in) == nil {
			b.Fatal("no plan")
		}
	}
}
