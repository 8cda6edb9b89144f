package deployment_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

func TestEvaluate(t *testing.T) {
	t.Parallel()
	type nodes = []*v1alpha1.SeiNode
	two := maxUnavailable(intstr.FromInt32(2))
	for name, tc := range map[string]struct {
		snd   *v1alpha1.SeiNodeDeployment
		nodes nodes
		want  []string
		phase v1alpha1.DeploymentPhase
	}{
		"no child yet":             {snd(2), nil, []string{"Create ax-0", "Create ax-1"}, v1alpha1.DeploymentPending},
		"one is missing":           {snd(3), nodes{child(0), child(2)}, []string{"Create ax-1"}, v1alpha1.DeploymentProgressing},
		"all as they should be":    {snd(2), nodes{child(0), child(1)}, nil, v1alpha1.DeploymentReady},
		"nothing wanted, none":     {snd(0), nil, nil, v1alpha1.DeploymentReady},
		"a new image: one":         {snd(3, image("seid:v2")), nodes{child(0), child(1), child(2)}, []string{"Update ax-0"}, v1alpha1.DeploymentProgressing},
		"a new image: two at once": {snd(3, image("seid:v2"), two), nodes{child(0), child(1), child(2)}, []string{"Update ax-0", "Update ax-1"}, v1alpha1.DeploymentProgressing},
		"half of five is two": {snd(5, image("seid:v2"), maxUnavailable(intstr.FromString("50%"))),
			nodes{child(0), child(1), child(2), child(3), child(4)}, []string{"Update ax-0", "Update ax-1"}, v1alpha1.DeploymentProgressing},
		"a percentage is at least one": {snd(3, image("seid:v2"), maxUnavailable(intstr.FromString("1%"))),
			nodes{child(0), child(1), child(2)}, []string{"Update ax-0"}, v1alpha1.DeploymentProgressing},
		"the one under way takes the slot": {snd(2, image("seid:v2")), nodes{child(0, updating("seid:v2")), child(1)}, nil, v1alpha1.DeploymentProgressing},
		"the next one, once it is settled": {snd(2, image("seid:v2")), nodes{child(0, runs("seid:v2")), child(1)}, []string{"Update ax-1"}, v1alpha1.DeploymentProgressing},
		"an edit that is not seen yet takes the slot": {snd(2, image("seid:v2")),
			nodes{child(0, func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2"; n.Generation = 2 }), child(1)}, nil, v1alpha1.DeploymentProgressing},
		"one that is down takes the slot, and is told first": {snd(2, image("seid:v2")),
			nodes{child(0), child(1, notReady)}, []string{"Update ax-1"}, v1alpha1.DeploymentProgressing},
		"the fix for one that is held":    {snd(2, image("seid:v3")), nodes{child(0), child(1, held("seid:v2"))}, []string{"Update ax-1"}, v1alpha1.DeploymentDegraded},
		"one that is held stops the rest": {snd(2, image("seid:v2")), nodes{child(0, held("seid:v2")), child(1)}, nil, v1alpha1.DeploymentDegraded},
		"one that never was Ready takes no slot": {snd(2, image("seid:v2")),
			nodes{child(0, neverReady), child(1)}, []string{"Update ax-0", "Update ax-1"}, v1alpha1.DeploymentProgressing},
		"scale-down: the highest first": {snd(1), nodes{child(0), child(1), child(2)}, []string{"Delete ax-2", "Delete ax-1"}, v1alpha1.DeploymentProgressing},
		"of another owner":              {snd(1), nodes{child(0, func(n *v1alpha1.SeiNode) { n.OwnerReferences[0].UID = "other" })}, nil, v1alpha1.DeploymentDegraded},
		"nobody's, with our label":      {snd(1), nodes{child(0, func(n *v1alpha1.SeiNode) { n.OwnerReferences = nil })}, []string{"Adopt ax-0"}, v1alpha1.DeploymentPending},
		"nobody's, without it":          {snd(1), nodes{child(0, func(n *v1alpha1.SeiNode) { n.OwnerReferences, n.Labels = nil, nil })}, nil, v1alpha1.DeploymentDegraded},
		"a name that only looks like a child's": {snd(1), nodes{child(0), child(1, func(n *v1alpha1.SeiNode) { n.Name, n.OwnerReferences = "ax-01", nil })},
			nil, v1alpha1.DeploymentReady},
		"being deleted": {snd(2, image("seid:v2"), func(d *v1alpha1.SeiNodeDeployment) { d.DeletionTimestamp = &metav1.Time{Time: now} }),
			nodes{child(0)}, nil, v1alpha1.DeploymentTerminating},
		"not Ready with nothing under way": {snd(2), nodes{child(0, notReady), child(1)}, nil, v1alpha1.DeploymentDegraded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := evaluate(tc.snd, tc.nodes...)
			require.ElementsMatch(t, tc.want, says(r))
			if len(tc.want) > 0 {
				require.Equal(t, tc.want, says(r))
			}
			require.Equal(t, tc.phase, r.Status.Phase, condition(t, r, v1alpha1.ConditionReady).Message)
			require.Equal(t, tc.phase == v1alpha1.DeploymentReady, condition(t, r, v1alpha1.ConditionReady).Status == metav1.ConditionTrue)
		})
	}
}

func TestUnsettledChildGetsTheFix(t *testing.T) {
	t.Parallel()
	r := evaluate(snd(3, image("seid:v3")), child(0), child(1, held("seid:v2")), child(2, updating("seid:v2")))
	require.Equal(t, []string{"Update ax-1", "Update ax-2"}, says(r))
	require.Equal(t, "seid:v3", r.Actions[0].Node.Spec.Image)
	require.Equal(t, "1", r.Actions[0].Node.ResourceVersion, "an optimistic update")
}

func TestPausedChildIsSkipped(t *testing.T) {
	t.Parallel()
	r := evaluate(snd(2, image("seid:v2")), child(0, paused), child(1))
	require.Equal(t, []string{"Update ax-1"}, says(r))
	require.Contains(t, condition(t, r, v1alpha1.ConditionProgressing).Message, "skipped, as paused: ax-0")

	r = evaluate(snd(2, image("seid:v2")), child(0, paused), child(1, runs("seid:v2")))
	require.Empty(t, r.Actions)
	require.Equal(t, v1alpha1.ReasonPaused, condition(t, r, v1alpha1.ConditionReady).Reason)
	require.EqualValues(t, 1, r.Status.UpdatedReplicas)
}

// A paused child that is down takes a slot like any other.
func TestPausedChildThatIsDown(t *testing.T) {
	t.Parallel()
	down := child(0, paused, notReady)
	setCondition(down, v1alpha1.ConditionSidecarReady, metav1.ConditionUnknown, v1alpha1.ReasonUnreachable)
	require.Empty(t, says(evaluate(snd(2, image("seid:v2")), down, child(1))))
}

func TestTemplatePauses(t *testing.T) {
	t.Parallel()
	r := evaluate(snd(2, image("seid:v2"), templatePaused), child(0), child(1))
	require.Equal(t, []string{"Update ax-0", "Update ax-1"}, says(r), "a pause waits for no slot")
	for _, a := range r.Actions {
		require.True(t, a.Node.Spec.Paused)
		require.Equal(t, "seid:v1", a.Node.Spec.Image, "a pause brings nothing else")
	}
	ours, theirs := child(0, paused, managed(deployment.FieldManager, "paused")), child(1, paused, managed("kubectl-edit", "paused"))
	r = evaluate(snd(2, image("seid:v2")), ours, theirs)
	require.Equal(t, []string{"Update ax-0"}, says(r), "only what the deployment paused goes on")
	require.False(t, r.Actions[0].Node.Spec.Paused)
	require.Equal(t, "seid:v2", r.Actions[0].Node.Spec.Image)
}

func TestUnpausingTakesSlots(t *testing.T) {
	t.Parallel()
	ours := managed(deployment.FieldManager, "paused")
	r := evaluate(snd(2, image("seid:v2")), child(0, paused, ours), child(1, paused, ours))
	require.Equal(t, []string{"Update ax-0"}, says(r))
}

func TestConsentOnlyWithRemoval(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		snd  *v1alpha1.SeiNodeDeployment
		node *v1alpha1.SeiNode
		want map[string]string // annotations written; nil for no action
	}{
		"removal of TLS that runs": {snd(1, consent), child(0, runsTLS(issuerTLS)), map[string]string{v1alpha1.AnnotationAllowTLSRemoval: "true"}},
		"removal without consent":  {snd(1), child(0, runsTLS(issuerTLS)), map[string]string{}},
		"consent comes later": {snd(1, consent), child(0, runsTLS(issuerTLS), func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = nil }),
			map[string]string{v1alpha1.AnnotationAllowTLSRemoval: "true"}},
		"no TLS runs":                  {snd(1, consent), child(0), nil},
		"the template keeps TLS":       {snd(1, consent, templateTLS(issuerTLS)), child(0, runsTLS(issuerTLS)), nil},
		"an edit that removes nothing": {snd(1, consent, image("seid:v2")), child(0), map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := evaluate(tc.snd, tc.node)
			if tc.want == nil {
				require.Empty(t, says(r))
				return
			}
			require.Equal(t, []string{"Update ax-0"}, says(r))
			got := r.Actions[0].Node.Annotations
			if len(tc.want) == 0 {
				require.Empty(t, got)
				return
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestKeptTLSIsReported(t *testing.T) {
	t.Parallel()
	r := evaluate(snd(1), child(0, runsTLS(issuerTLS), func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = nil }))
	require.Empty(t, says(r))
	require.Contains(t, condition(t, r, v1alpha1.ConditionReady).Message, "ax-0 keeps TLS")
}

func TestConsentTakesASlot(t *testing.T) {
	t.Parallel()
	noTLS := func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = nil }
	r := evaluate(snd(2, consent), child(0, runsTLS(issuerTLS), noTLS), child(1, runsTLS(issuerTLS), noTLS))
	require.Equal(t, []string{"Update ax-0"}, says(r))
}

func TestScale(t *testing.T) {
	t.Parallel()
	r := evaluate(snd(2, func(d *v1alpha1.SeiNodeDeployment) {
		d.Spec.Template.Metadata = v1alpha1.TemplateMetadata{
			Labels: map[string]string{"tier": "rpc"}, Annotations: map[string]string{"team": "infra", v1alpha1.AnnotationAllowTLSRemoval: "true"},
		}
	}))
	require.Equal(t, []string{"Create ax-0", "Create ax-1"}, says(r))
	n := r.Actions[1].Node
	require.Equal(t, map[string]string{"tier": "rpc", v1alpha1.LabelDeployment: "ax"}, n.Labels)
	require.Equal(t, map[string]string{"team": "infra"}, n.Annotations, "a new node has nothing to consent to")
	require.Equal(t, "snd-uid", string(metav1.GetControllerOf(n).UID))

	r = evaluate(snd(1), child(0), child(1, func(n *v1alpha1.SeiNode) { n.DeletionTimestamp = &metav1.Time{Time: now} }))
	require.Empty(t, says(r), "it goes already")
	require.Contains(t, condition(t, r, v1alpha1.ConditionProgressing).Message, "1 of 1 children exist")
}

func TestHandEditIsPutBack(t *testing.T) {
	t.Parallel()
	r := evaluate(snd(1), child(0, updating("seid:v9"), managed("kubectl-edit", "image")))
	require.Equal(t, []string{"Update ax-0"}, says(r))
	a := r.Actions[0]
	require.Equal(t, v1alpha1.ReasonChildPutBack, a.Reason)
	require.True(t, a.Warning)
	require.Equal(t, `SeiNode ax-0 was edited by kubectl-edit and is put back: spec.image from "seid:v9" to "seid:v1"; edit the template instead`, a.Message)

	// What was removed has no manager any more; but all children had this template.
	settled := snd(1, templateTLS(issuerTLS), func(d *v1alpha1.SeiNodeDeployment) {
		d.Status = v1alpha1.SeiNodeDeploymentStatus{ObservedGeneration: 1, Phase: v1alpha1.DeploymentReady}
	})
	r = evaluate(settled, child(0, runsTLS(issuerTLS), func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = nil; n.Generation = 2 }))
	require.Equal(t, v1alpha1.ReasonChildPutBack, r.Actions[0].Reason)

	r = evaluate(snd(1, image("seid:v2")), child(0, managed(deployment.FieldManager, "image"), managed("kubectl-edit", "podLabels")))
	require.Equal(t, v1alpha1.ReasonTemplatePropagated, r.Actions[0].Reason)
}

func TestAnnotationsAndOtherLabelsAreLeftAlone(t *testing.T) {
	t.Parallel()
	own := func(n *v1alpha1.SeiNode) {
		n.Annotations = map[string]string{v1alpha1.AnnotationRetryRequestedAt: "now"}
		n.Labels["mine"] = "too"
	}
	require.Empty(t, says(evaluate(snd(1), child(0, own))))
	labelled := snd(1, func(d *v1alpha1.SeiNodeDeployment) {
		d.Spec.Template.Metadata.Labels = map[string]string{"tier": "rpc"}
	})
	r := evaluate(labelled, child(0, own))
	require.Equal(t, []string{"Update ax-0"}, says(r))
	require.Equal(t, map[string]string{"mine": "too", "tier": "rpc", v1alpha1.LabelDeployment: "ax"}, r.Actions[0].Node.Labels)
	require.Equal(t, map[string]string{v1alpha1.AnnotationRetryRequestedAt: "now"}, r.Actions[0].Node.Annotations)
}

func TestStatusIsStable(t *testing.T) {
	t.Parallel()
	d := snd(2, image("seid:v2"))
	nodes := []*v1alpha1.SeiNode{child(0, updating("seid:v2")), child(1)}
	d.Status = evaluate(d, nodes...).Status
	again := deployment.Evaluate(deployment.Input{Deployment: d, Nodes: nodes, Now: now.Add(now.Sub(now) + 1e9)})
	require.Equal(t, d.Status, again.Status, "the same state writes nothing")
	require.EqualValues(t, 2, d.Status.Replicas)
	require.EqualValues(t, 1, d.Status.ReadyReplicas)
	require.EqualValues(t, 0, d.Status.UpdatedReplicas)
	require.Equal(t, "0 of 2 children run the template; under way: ax-0; waiting: ax-1",
		condition(t, evaluate(d, nodes...), v1alpha1.ConditionProgressing).Message)
}
