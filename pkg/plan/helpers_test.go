package plan

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/settings"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	planA = "6a6f7c1e-0000-4000-8000-00000000000a"
	planB = "6a6f7c1e-0000-4000-8000-00000000000b"
)

func issuerTLS(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{IssuerName: name}
}

func secretTLS(name string) *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{SecretName: name}
}

func observed(tls *v1alpha1.SidecarTLSConfig) *v1alpha1.ObservedSidecarTLS {
	if tls == nil {
		return nil
	}
	return &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *tls.Normalize(), FingerprintSHA256: "f1"}
}

// runningNode runs image v1 and the TLS given, and its spec says so.
func runningNode(tls *v1alpha1.SidecarTLSConfig) *v1alpha1.SeiNode {
	return &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sei", Name: "n0", UID: "node-uid", Annotations: map[string]string{}},
		Spec: v1alpha1.SeiNodeSpec{
			ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{},
			Sidecar: &v1alpha1.SidecarConfig{TLS: tls},
		},
		Status: v1alpha1.SeiNodeStatus{
			Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1", CurrentSidecarTLS: observed(tls),
		},
	}
}

func consent(n *v1alpha1.SeiNode) *v1alpha1.SeiNode {
	n.Annotations[v1alpha1.AnnotationAllowTLSRemoval] = "true"
	return n
}

func testSettings() *settings.Settings {
	s := settings.Default()
	s.SidecarImage = "sidecar:v1"
	return &s
}

// live is the snapshot of a node whose template and pod are of the revisions given, with sound Secrets. An empty pod
// revision means that there is no pod.
func live(template, pod string) *drift.Snapshot {
	s := &drift.Snapshot{
		StatefulSet: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Generation: 3},
			Status:     appsv1.StatefulSetStatus{ObservedGeneration: 3, UpdateRevision: template},
		},
		CurrentVerdict: &certs.Verdict{Ready: true},
		TargetVerdict:  &certs.Verdict{Ready: true, SecretSHA256: "sha-1"},
		Sidecar:        drift.SidecarOK,
	}
	if pod != "" {
		s.Pod = &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "n0-0", Labels: map[string]string{appsv1.StatefulSetRevisionLabel: pod}},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}
	}
	return s
}

// input evaluates the drift of a node without judging its objects, which these snapshots do not have.
func input(n *v1alpha1.SeiNode, s *drift.Snapshot) Input {
	return Input{
		Node: n, Snapshot: s, Settings: testSettings(), Now: t0, ID: planB,
		Drift: drift.Evaluate(drift.Input{Node: n, Settings: testSettings()}),
	}
}

// drifted adds an object finding to the input.
func drifted(in Input, task v1alpha1.TaskType) Input {
	in.Drift.Findings = append(in.Drift.Findings, drift.Finding{
		Subject: drift.SubjectObjects, Cause: v1alpha1.ObjectDrift, Task: task, Why: "it differs",
	})
	return in
}

func types(p *v1alpha1.Plan) (out []v1alpha1.TaskType) {
	if p == nil {
		return nil
	}
	for i := range p.Tasks {
		out = append(out, p.Tasks[i].Type)
	}
	return out
}

// complete marks every task before the first of a type as complete; all of them when there is none.
func complete(p *v1alpha1.Plan, until v1alpha1.TaskType) *v1alpha1.Plan {
	for i := range p.Tasks {
		if p.Tasks[i].Type == until {
			break
		}
		Start(p, i, testSettings(), t0)
		Advance(p, i, Run{Done: true}, testSettings(), t0)
	}
	return p
}

// failAt runs a plan up to the first task of a type, which fails for good.
func failAt(p *v1alpha1.Plan, at v1alpha1.TaskType) *v1alpha1.Plan {
	complete(p, at)
	i := Current(p)
	Start(p, i, testSettings(), t0)
	Advance(p, i, Run{Err: errBroken, Terminal: true}, testSettings(), t0)
	return p
}

// build is a NodeUpdate of a node whose pod runs revision r1, with an id of its own.
func build(n *v1alpha1.SeiNode) *v1alpha1.Plan {
	in := input(n, live("r1", "r1"))
	in.ID = planA
	return BuildRunningPlan(in)
}

func microTime(t time.Time) metav1.MicroTime { return metav1.NewMicroTime(t) }

func ptrTime(t metav1.MicroTime) *metav1.Time {
	at := metav1.NewTime(t.Time)
	return &at
}
