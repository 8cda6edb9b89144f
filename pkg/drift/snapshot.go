package drift

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

// SidecarHealth is what the sidecar's health path answered.
type SidecarHealth string

// Answers of the sidecar.
const (
	// SidecarUnknown: it was not asked, or there is no pod to ask.
	SidecarUnknown SidecarHealth = ""
	// SidecarOK: 200.
	SidecarOK SidecarHealth = "OK"
	// SidecarParked: 503, it waits for mark-ready.
	SidecarParked SidecarHealth = "Parked"
	// SidecarUnreachable: no answer, or another one.
	SidecarUnreachable SidecarHealth = "Unreachable"
)

// Snapshot is every read that a decision about one node needs. It answers questions and never calls a service. A nil
// object was not found.
type Snapshot struct {
	StatefulSet *appsv1.StatefulSet
	Pod         *corev1.Pod
	Service     *corev1.Service
	ProxyConfig *corev1.ConfigMap
	Certificate *cmv1.Certificate
	// Foreign names the objects of our names that are not this node's, as "Kind name (owner)".
	Foreign []string
	// CurrentVerdict is the verdict on the Secret of status.currentSidecarTLS, or of the spec's TLS while none runs; nil
	// when there is neither.
	CurrentVerdict *certs.Verdict
	// TargetVerdict is the verdict on the Secret of the target, when that is a provisioned one; nil otherwise.
	TargetVerdict *certs.Verdict
	// Sidecar is what the sidecar answered, and SidecarDetail why it could not be reached.
	Sidecar       SidecarHealth
	SidecarDetail string
	// ForeignController names another live controller that writes the node; empty for none.
	ForeignController string
}

// PodReady says whether the pod is there, not being deleted, and Ready.
func (s *Snapshot) PodReady() bool {
	if s == nil || s.Pod == nil || s.Pod.DeletionTimestamp != nil {
		return false
	}
	for i := range s.Pod.Status.Conditions {
		if c := &s.Pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// PodRevision is the revision that the pod runs; empty without a pod or when it is being deleted: such a pod is of no
// revision.
func (s *Snapshot) PodRevision() string {
	if s == nil || s.Pod == nil || s.Pod.DeletionTimestamp != nil {
		return ""
	}
	return s.Pod.Labels[appsv1.StatefulSetRevisionLabel]
}

// UpdateRevision is the revision of the StatefulSet's template, and whether its controller has seen the latest template.
func (s *Snapshot) UpdateRevision() (revision string, current bool) {
	if s == nil || s.StatefulSet == nil {
		return "", false
	}
	st := &s.StatefulSet.Status
	return st.UpdateRevision, st.ObservedGeneration >= s.StatefulSet.Generation && st.UpdateRevision != ""
}

// Revision is where a rollback would return to: the revision of the running pod or, without a pod, of the template.
func (s *Snapshot) Revision() string {
	if r := s.PodRevision(); r != "" {
		return r
	}
	r, _ := s.UpdateRevision()
	return r
}

// TemplateApplied says whether the live template is another than the revision given: then the next pod comes up on it,
// whether a plan still wants it or not. A template that its controller has not seen yet counts as applied.
func (s *Snapshot) TemplateApplied(previous string) bool {
	if s == nil || s.StatefulSet == nil {
		return false
	}
	r, current := s.UpdateRevision()
	return !current || r != previous
}

// PodImage is the image of seid in the pod; empty without a pod or when it is being deleted.
func (s *Snapshot) PodImage() string {
	if s == nil || s.Pod == nil || s.Pod.DeletionTimestamp != nil {
		return ""
	}
	for i := range s.Pod.Spec.Containers {
		if c := &s.Pod.Spec.Containers[i]; c.Name == resources.ContainerSeid {
			return c.Image
		}
	}
	return ""
}

// ProxyRuns says whether the pod has the proxy's container.
func (s *Snapshot) ProxyRuns() bool {
	if s == nil || s.Pod == nil {
		return false
	}
	for i := range s.Pod.Spec.InitContainers {
		if s.Pod.Spec.InitContainers[i].Name == resources.ContainerProxy {
			return true
		}
	}
	return false
}
