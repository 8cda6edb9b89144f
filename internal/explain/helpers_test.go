package explain

import (
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

var (
	now    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	begun  = now.Add(-2 * time.Minute)
	later  = now.Add(3 * time.Minute)
	issuer = &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"}
	given  = &v1alpha1.SidecarTLSConfig{SecretName: "given-tls"}
)

func at(t time.Time) *metav1.Time { m := metav1.NewTime(t); return &m }

func micro(t time.Time) *metav1.MicroTime { m := metav1.NewMicroTime(t); return &m }

// scene is a node and what is around it.
type scene struct{ Facts }

// settled is a node that runs v1 without TLS, as it should, driven by an operator.
func settled() *scene {
	n := &v1alpha1.SeiNode{}
	n.Namespace, n.Name, n.UID, n.Generation = "fleet", "ax-0", "uid", 2
	n.Spec = v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{}}
	n.Status = v1alpha1.SeiNodeStatus{ObservedGeneration: 2, Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1"}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0-0", CreationTimestamp: metav1.NewTime(begun)}}
	pod.Spec.InitContainers = []corev1.Container{{Name: resources.ContainerSeidInit, Image: "seid:v1"}, {Name: resources.ContainerSidecar, Image: "sidecar:v1"}}
	pod.Spec.Containers = []corev1.Container{{Name: resources.ContainerSeid, Image: "seid:v1"}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{runningStatus(resources.ContainerSidecar)}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{runningStatus(resources.ContainerSeid)}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return &scene{Facts{Now: now, Node: n,
		Snapshot: &drift.Snapshot{StatefulSet: &appsv1.StatefulSet{}, Pod: pod, Sidecar: drift.SidecarOK},
		Wire:     Wire{Asked: true, Health: 200}, RPC: RPC{Asked: true, Height: "42"},
		Driver: Driver{Known: true, Holder: "operator pod x", Operator: true, Since: &begun}}}
}

func runningStatus(name string) corev1.ContainerStatus {
	yes := true
	return corev1.ContainerStatus{Name: name, Ready: true, Started: &yes,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(begun)}}}
}

// wants has the spec ask for TLS, and a plan wait at a task for it.
func (s *scene) wants(tls *v1alpha1.SidecarTLSConfig, task v1alpha1.TaskType, message string) *scene {
	s.Node.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: tls}
	return s.at(task, message)
}

// at has a NodeUpdate wait at a task.
func (s *scene) at(task v1alpha1.TaskType, message string) *scene {
	p := &v1alpha1.Plan{ID: "id", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, StartedAt: *micro(begun),
		Target: v1alpha1.PlanTarget{Image: s.Node.Spec.Image, SidecarTLS: s.Node.SidecarTLS()}}
	for _, t := range []v1alpha1.TaskType{v1alpha1.TaskWaitForSidecarTLSSecret, v1alpha1.TaskApplyStatefulSet, v1alpha1.TaskReplacePod,
		v1alpha1.TaskObserveImage, v1alpha1.TaskObserveSidecarTLS, v1alpha1.TaskMarkReady} {
		p.Tasks = append(p.Tasks, v1alpha1.Task{Type: t, Status: v1alpha1.TaskPending, Why: "why"})
	}
	for i := range p.Tasks {
		if t := &p.Tasks[i]; t.Type == task {
			t.Status, t.Message, t.StartedAt, t.Deadline = v1alpha1.TaskRunning, message, micro(begun), micro(later)
			break
		}
		p.Tasks[i].Status = v1alpha1.TaskComplete
	}
	s.Node.Status.Plan = p
	return s
}

// requested has cert-manager issue, with a request in the conditions given.
func (s *scene) requested(conditions ...cmv1.CertificateRequestCondition) *scene {
	tls := s.Node.SidecarTLS()
	ref := cmmeta.IssuerReference{Name: tls.IssuerName, Kind: tls.IssuerKind, Group: "cert-manager.io"}
	c := &cmv1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0-sidecar-tls", UID: "cert", Generation: 1}}
	c.Spec.IssuerRef = ref
	c.Status.Conditions = []cmv1.CertificateCondition{{Type: cmv1.CertificateConditionIssuing, Status: cmmeta.ConditionTrue,
		ObservedGeneration: 1, LastTransitionTime: at(begun)}}
	s.Snapshot.Certificate = c
	req := cmv1.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0-sidecar-tls-1", CreationTimestamp: metav1.NewTime(begun),
		Annotations:     map[string]string{cmv1.CertificateRequestRevisionAnnotationKey: "1"},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c, cmv1.SchemeGroupVersion.WithKind("Certificate"))}}}
	req.Spec.IssuerRef = ref
	req.Status.Conditions = conditions
	s.Requests = []cmv1.CertificateRequest{req}
	s.Verdict = &certs.Verdict{Reason: v1alpha1.ReasonTLSSecretNotFound, Message: "Secret fleet/ax-0-sidecar-tls does not exist"}
	s.Issuer = &Issuer{Kind: tls.IssuerKind, Name: tls.IssuerName, Presence: Found, Ready: true}
	if tls.IssuerKind == v1alpha1.IssuerKindIssuer {
		s.Issuer.Namespace = "fleet"
	}
	return s
}

func condition(t cmv1.CertificateRequestConditionType, status cmmeta.ConditionStatus, reason, message string) cmv1.CertificateRequestCondition {
	return cmv1.CertificateRequestCondition{Type: t, Status: status, Reason: reason, Message: message, LastTransitionTime: at(begun)}
}

func approved() cmv1.CertificateRequestCondition {
	return condition(cmv1.CertificateRequestConditionApproved, cmmeta.ConditionTrue, "cert-manager.io", "approved")
}

func pending(message string) cmv1.CertificateRequestCondition {
	return condition(cmv1.CertificateRequestConditionReady, cmmeta.ConditionFalse, cmv1.CertificateRequestReasonPending, message)
}

// proxied has the pod come back with the proxy, on a sound Secret, and wait.
func (s *scene) proxied() *scene {
	s.Verdict = &certs.Verdict{Ready: true, Reason: v1alpha1.ReasonTLSSecretReady, Message: "it is sound"}
	s.Snapshot.Pod.Spec.InitContainers = append(s.Snapshot.Pod.Spec.InitContainers, corev1.Container{Name: resources.ContainerProxy})
	s.Snapshot.Pod.Status.InitContainerStatuses = append(s.Snapshot.Pod.Status.InitContainerStatuses, runningStatus(resources.ContainerProxy))
	return s.unready().answers(Wire{Health: 503, Status: 200})
}

// unready takes the pod's readiness, and seid's.
func (s *scene) unready() *scene {
	no := false
	s.Snapshot.Pod.Status.Conditions = nil
	seid := &s.Snapshot.Pod.Status.ContainerStatuses[0]
	seid.Ready, seid.Started = false, &no
	return s
}

func (s *scene) answers(w Wire) *scene {
	w.Asked = true
	s.Wire = w
	return s
}

// container changes the status of a container.
func (s *scene) container(name string, state corev1.ContainerState) *scene {
	no := false
	c := status(s.Snapshot.Pod, name)
	c.State, c.Ready, c.Started = state, false, &no
	return s
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// crashes has a container fail again and again.
func (s *scene) crashes(name string) *scene {
	s.container(name, waiting("CrashLoopBackOff", "back-off 40s restarting failed container"))
	c := status(s.Snapshot.Pod, name)
	c.RestartCount = 3
	c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}
	return s
}

// explain computes what a pass would find, and explains.
func (s *scene) explain() Explanation {
	platform := settings.Default()
	platform.SidecarImage = "sidecar:v1"
	s.Report = drift.Evaluate(drift.Input{Node: s.Node, Settings: &platform, Held: plan.Held(s.Node, s.Snapshot)})
	s.Decision = plan.Resolve(plan.Input{Node: s.Node, Drift: s.Report, Settings: &platform, Now: now}, plan.Options{})
	return Explain(&s.Facts)
}
