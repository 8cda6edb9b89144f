package plan

import (
	"crypto/sha1" // what a UUIDv5 is made of, and nothing that has to withstand anybody
	"hash"
	"strconv"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

// Input is what a plan is built from.
type Input struct {
	Node *v1alpha1.SeiNode
	// Drift of the node.
	Drift drift.Report
	// Snapshot of what is in the cluster; nil offline.
	Snapshot *drift.Snapshot
	Settings *settings.Settings
	// Now is when the plan is built, and ID its id, a UUID.
	Now time.Time
	ID  string
}

// step is one line of a recipe: the task is in the plan when its condition holds.
type step struct {
	when   bool
	task   v1alpha1.TaskType
	why    string
	params v1alpha1.TaskParams
}

// newPlan assembles a plan from its steps.
func (in *Input) newPlan(kind v1alpha1.PlanKind, causes []v1alpha1.PlanCause, target v1alpha1.PlanTarget,
	previous v1alpha1.PlanPrevious, steps []step) *v1alpha1.Plan {
	p := &v1alpha1.Plan{
		ID: in.ID, Kind: kind, Causes: causes, Phase: v1alpha1.PlanActive,
		Target: *target.DeepCopy(), Previous: *previous.DeepCopy(),
		StartedAt:   metav1.NewMicroTime(in.Now),
		TargetPhase: v1alpha1.PhaseRunning, FailedPhase: v1alpha1.PhaseRunning,
		Attempt: 1, RetrySeen: in.Node.Annotations[v1alpha1.AnnotationRetryRequestedAt],
	}
	due := 0
	for i := range steps {
		if steps[i].when {
			due++
		}
	}
	p.Tasks = make([]v1alpha1.Task, 0, due)
	h := sha1.New()
	for i := range steps {
		s := &steps[i]
		if !s.when {
			continue
		}
		p.Tasks = append(p.Tasks, v1alpha1.Task{
			Type: s.task, ID: taskID(h, in.ID, s.task, len(p.Tasks)), Status: v1alpha1.TaskPending, Why: s.why,
			Params: *s.params.DeepCopy(),
		})
	}
	return p
}

// taskNamespace is the UUIDv5 namespace of task ids.
var taskNamespace = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("tasks.sei.io"))

// TaskID is the UUIDv5 of plan id, type and index: the same task always has the same id.
func TaskID(planID string, t v1alpha1.TaskType, index int) string {
	return taskID(sha1.New(), planID, t, index)
}

// taskID is TaskID with a hash that is used again.
func taskID(h hash.Hash, planID string, t v1alpha1.TaskType, index int) string {
	return uuid.NewHash(h, taskNamespace, []byte(planID+"/"+string(t)+"/"+strconv.Itoa(index)), 5).String()
}

// latch is what the node runs now: where a rollback returns to.
func (in *Input) latch() v1alpha1.PlanPrevious {
	image, observed := in.Node.Status.CurrentImage, ""
	if running := in.Snapshot.PodImage(); running != "" && running != image {
		// Somebody changed the template: a rollback returns to the revision, and so to its image.
		image, observed = running, image
	}
	return v1alpha1.PlanPrevious{
		Image: image, ObservedImage: observed,
		SidecarTLS:         in.Node.Status.CurrentSidecarTLS.DeepCopy(),
		ControllerRevision: in.Snapshot.Revision(),
		Ready:              in.Snapshot.PodReady(),
	}
}

// params freezes the params of a node's tasks for a target. What is off leaves its params out.
type params struct {
	cert, secret, proxyConfig, statefulSet, service, replacePod, observeImage, observeTLS v1alpha1.TaskParams
}

func (in *Input) paramsFor(target v1alpha1.PlanTarget) params {
	node, s := in.Node, *in.Settings
	tmpl := resources.NodeTemplateFor(node, target, s)
	service := resources.ServiceParamsFor(node, target)
	proxyConfig := resources.RBACProxyConfigParamsFor(node)
	p := params{
		statefulSet:  v1alpha1.TaskParams{StatefulSet: &v1alpha1.StatefulSetParams{Template: &tmpl}},
		service:      v1alpha1.TaskParams{Service: &service},
		proxyConfig:  v1alpha1.TaskParams{RBACProxyConfig: &proxyConfig},
		observeImage: v1alpha1.TaskParams{ObserveImage: &v1alpha1.ObserveImageParams{Image: target.Image}},
		observeTLS:   v1alpha1.TaskParams{ObserveSidecarTLS: &v1alpha1.ObserveSidecarTLSParams{}},
		replacePod:   v1alpha1.TaskParams{ReplacePod: &v1alpha1.ReplacePodParams{}},
		cert: v1alpha1.TaskParams{SidecarCert: &v1alpha1.SidecarCertParams{
			Name: resources.CertificateName(node.Name),
		}},
	}
	if target.SidecarTLS != nil {
		secret := resources.TLSSecretParamsFor(node, target.SidecarTLS, s)
		p.secret = v1alpha1.TaskParams{TLSSecret: &secret}
		p.observeTLS.ObserveSidecarTLS.TLSSecret = &secret
		p.replacePod.ReplacePod.TLSSecret = &secret
		if target.SidecarTLS.IssuerName != "" {
			cert := resources.SidecarCertParamsFor(node, target.SidecarTLS, s)
			p.cert = v1alpha1.TaskParams{SidecarCert: &cert}
		}
	}
	return p
}

func markReady(awaitPodReady bool) v1alpha1.TaskParams {
	return v1alpha1.TaskParams{MarkReady: &v1alpha1.MarkReadyParams{AwaitPodReady: awaitPodReady}}
}

func issuer(t *v1alpha1.SidecarTLSConfig) bool { return t != nil && t.IssuerName != "" }
