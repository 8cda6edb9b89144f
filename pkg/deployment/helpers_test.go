package deployment_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var issuerTLS = &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"}

func snd(replicas int32, edits ...func(*v1alpha1.SeiNodeDeployment)) *v1alpha1.SeiNodeDeployment {
	d := &v1alpha1.SeiNodeDeployment{
		ObjectMeta: metav1.ObjectMeta{Name: "ax", Namespace: "arctic", UID: "snd-uid", Generation: 1},
		Spec: v1alpha1.SeiNodeDeploymentSpec{
			Replicas: replicas,
			Template: v1alpha1.SeiNodeTemplate{Spec: v1alpha1.SeiNodeSpec{
				ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{},
			}},
			UpdateStrategy: v1alpha1.UpdateStrategy{Type: "InPlace"},
		},
	}
	for _, edit := range edits {
		edit(d)
	}
	return d
}

func maxUnavailable(v intstr.IntOrString) func(*v1alpha1.SeiNodeDeployment) {
	return func(d *v1alpha1.SeiNodeDeployment) { d.Spec.UpdateStrategy.MaxUnavailable = &v }
}

func image(v string) func(*v1alpha1.SeiNodeDeployment) {
	return func(d *v1alpha1.SeiNodeDeployment) { d.Spec.Template.Spec.Image = v }
}

func templateTLS(tls *v1alpha1.SidecarTLSConfig) func(*v1alpha1.SeiNodeDeployment) {
	return func(d *v1alpha1.SeiNodeDeployment) {
		d.Spec.Template.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: tls}
	}
}

func templatePaused(d *v1alpha1.SeiNodeDeployment) { d.Spec.Template.Spec.Paused = true }

func consent(d *v1alpha1.SeiNodeDeployment) {
	d.Spec.Template.Metadata.Annotations = map[string]string{v1alpha1.AnnotationAllowTLSRemoval: "true", "team": "infra"}
}

// child is a settled child of snd(…) that runs seid:v1.
func child(ordinal int, edits ...func(*v1alpha1.SeiNode)) *v1alpha1.SeiNode {
	first := metav1.NewTime(now.Add(-time.Hour))
	d := snd(1)
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{
			Name: deployment.ChildName("ax", ordinal), Namespace: "arctic", Generation: 1, ResourceVersion: "1",
			UID:    types.UID(deployment.ChildName("uid", ordinal)),
			Labels: map[string]string{v1alpha1.LabelDeployment: "ax"},
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(d, v1alpha1.GroupVersion.WithKind("SeiNodeDeployment")),
			},
		},
		Spec: d.Spec.Template.Spec,
		Status: v1alpha1.SeiNodeStatus{
			ObservedGeneration: 1, Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1", FirstReadyAt: &first,
		},
	}
	setCondition(n, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	setCondition(n, v1alpha1.ConditionSidecarReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	for _, edit := range edits {
		edit(n)
	}
	return n
}

func setCondition(n *v1alpha1.SeiNode, t string, status metav1.ConditionStatus, reason string) {
	meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{
		Type: t, Status: status, Reason: reason, ObservedGeneration: n.Generation,
	})
}

func notReady(n *v1alpha1.SeiNode) {
	setCondition(n, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPodNotReady)
}

func paused(n *v1alpha1.SeiNode) { n.Spec.Paused = true }

func runs(image string) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) { n.Spec.Image, n.Status.CurrentImage = image, image }
}

func runsTLS(tls *v1alpha1.SidecarTLSConfig) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) {
		n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: tls.DeepCopy()}
		n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *tls.Normalize()}
	}
}

func neverReady(n *v1alpha1.SeiNode) {
	n.Status.FirstReadyAt, n.Status.Phase = nil, v1alpha1.PhaseInitializing
	n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeInit, Phase: v1alpha1.PlanActive}
	setCondition(n, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInitializing)
}

// updating is a child whose edit is under way.
func updating(to string) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) {
		n.Spec.Image = to
		n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive}
		setCondition(n, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonUpdateStarted)
	}
}

// held is a child whose update to an image failed for good.
func held(to string) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) {
		n.Spec.Image = to
		n.Status.Hold = &v1alpha1.Hold{Target: v1alpha1.PlanTarget{Image: to}, Reason: "it crashed"}
		setCondition(n, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
	}
}

// managed says that a manager owns paths of the spec.
func managed(manager string, paths ...string) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) {
		spec := map[string]any{}
		for _, p := range paths {
			spec["f:"+p] = map[string]any{}
		}
		raw, err := json.Marshal(map[string]any{"f:spec": spec})
		if err != nil {
			panic(err)
		}
		n.ManagedFields = append(n.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(string(raw)),
		})
	}
}

func evaluate(d *v1alpha1.SeiNodeDeployment, nodes ...*v1alpha1.SeiNode) deployment.Result {
	return deployment.Evaluate(deployment.Input{Deployment: d, Nodes: nodes, Now: now})
}

// says lists actions as "Update ax-0".
func says(r deployment.Result) []string {
	out := []string{}
	for _, a := range r.Actions {
		out = append(out, string(a.Type)+" "+a.Node.Name)
	}
	return out
}

func condition(t *testing.T, r deployment.Result, conditionType string) *metav1.Condition {
	t.Helper()
	c := meta.FindStatusCondition(r.Status.Conditions, conditionType)
	require.NotNil(t, c, conditionType)
	return c
}
