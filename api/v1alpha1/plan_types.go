package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PlanKind says what a plan does.
//
// +kubebuilder:validation:Enum=NodeInit;NodeUpdate;NodeRollback;NodeRepair;MarkReady
type PlanKind string

// Kinds of plan.
const (
	// NodeInit brings a node from Pending to Running.
	NodeInit PlanKind = "NodeInit"
	// NodeUpdate removes the drift of a Running node, with at most one pod cycle.
	NodeUpdate PlanKind = "NodeUpdate"
	// NodeRollback returns a node to what it ran before a NodeUpdate.
	NodeRollback PlanKind = "NodeRollback"
	// NodeRepair restores objects that drifted, without a pod cycle.
	NodeRepair PlanKind = "NodeRepair"
	// MarkReady releases the start gate of a node whose sidecar answers 503.
	MarkReady PlanKind = "MarkReady"
)

// PlanCause says why a plan was built.
//
// +kubebuilder:validation:Enum=ImageDrift;SidecarTLSDrift;ObjectDrift
type PlanCause string

// Causes of a plan.
const (
	// ImageDrift: spec.image differs from status.currentImage.
	ImageDrift PlanCause = "ImageDrift"
	// SidecarTLSDrift: spec.sidecar.tls differs from status.currentSidecarTLS.
	SidecarTLSDrift PlanCause = "SidecarTLSDrift"
	// ObjectDrift: an owned object is missing, superfluous or different.
	ObjectDrift PlanCause = "ObjectDrift"
)

// PlanPhase is the state of a plan.
//
// +kubebuilder:validation:Enum=Active;Complete;Failed;Superseded
type PlanPhase string

// States of a plan.
const (
	// PlanActive: tasks are left to run.
	PlanActive PlanPhase = "Active"
	// PlanComplete: every task is complete.
	PlanComplete PlanPhase = "Complete"
	// PlanFailed: a task failed for good or ran out of time.
	PlanFailed PlanPhase = "Failed"
	// PlanSuperseded: another plan took its place.
	PlanSuperseded PlanPhase = "Superseded"
)

// PlanTarget is what a node runs once a plan is complete.
type PlanTarget struct {
	// Image of seid.
	Image string `json:"image"`
	// SidecarTLS with the issuer kind filled in; nil when TLS is off.
	// +optional
	SidecarTLS *SidecarTLSConfig `json:"sidecarTLS,omitempty"`
}

// PlanPrevious is what a node ran when a plan was built: where a rollback returns to.
type PlanPrevious struct {
	// Image of seid; empty for a node that ran nothing.
	// +optional
	Image string `json:"image,omitempty"`
	// ObservedImage is status.currentImage of then, where the pod ran another: somebody had changed the template.
	// +optional
	ObservedImage string `json:"observedImage,omitempty"`
	// SidecarTLS that was observed serving; nil when TLS was off.
	// +optional
	SidecarTLS *ObservedSidecarTLS `json:"sidecarTLS,omitempty"`
	// ControllerRevision is the revision label of the running pod or, without a pod, the StatefulSet's updateRevision.
	// +optional
	ControllerRevision string `json:"controllerRevision,omitempty"`
	// Ready says whether the pod was Ready.
	// +optional
	Ready bool `json:"ready,omitempty"`
}

// Plan is the ordered list of tasks that removes the drift of one node.
type Plan struct {
	// ID of the plan, a UUID.
	ID string `json:"id"`
	// Kind says what the plan does.
	Kind PlanKind `json:"kind"`
	// Causes say why it was built; stored, never derived from the tasks.
	//
	// +optional
	// +listType=atomic
	Causes []PlanCause `json:"causes,omitempty"`
	// Phase is the state of the plan.
	Phase PlanPhase `json:"phase"`
	// Target is latched when the plan is built.
	Target PlanTarget `json:"target"`
	// Previous is latched when the plan is built.
	// +optional
	Previous PlanPrevious `json:"previous,omitempty"`
	// StartedAt is when the plan was built.
	StartedAt metav1.MicroTime `json:"startedAt"`
	// FinishedAt is when the plan ended; set on a failed plan that is kept.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// Tasks run in this order.
	//
	// +listType=atomic
	Tasks []Task `json:"tasks"`
	// FailedTaskIndex is the index of the task that failed.
	// +optional
	FailedTaskIndex *int32 `json:"failedTaskIndex,omitempty"`
	// FailedTaskDetail says in one line what failed.
	// +optional
	FailedTaskDetail string `json:"failedTaskDetail,omitempty"`
	// TargetPhase is the phase of the node once the plan is complete.
	// +optional
	TargetPhase NodePhase `json:"targetPhase,omitempty"`
	// FailedPhase is the phase of the node once the plan has failed for good.
	// +optional
	FailedPhase NodePhase `json:"failedPhase,omitempty"`
	// Attempt counts the plans in a row that were built for this target, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// RetryAt is when the next attempt starts, after a failure that is retried.
	// +optional
	RetryAt *metav1.MicroTime `json:"retryAt,omitempty"`
	// RetrySeen is the value of the annotation sei.io/retry-requested-at when the plan was built.
	// +optional
	RetrySeen string `json:"retrySeen,omitempty"`
	// RollsBack says of a NodeRollback what failed: the plan that it undoes.
	// +optional
	RollsBack *RollbackCause `json:"rollsBack,omitempty"`
}

// RollbackCause names the plan that a rollback undoes, and why.
type RollbackCause struct {
	// PlanID of the plan undone.
	PlanID string `json:"planID"`
	// Target of the plan undone.
	Target PlanTarget `json:"target"`
	// Reason in one line; empty when the spec was put back and nothing failed.
	// +optional
	Reason string `json:"reason,omitempty"`
}

// TaskStatus is the state of a task.
//
// +kubebuilder:validation:Enum=Pending;Running;Complete;Failed;Skipped
type TaskStatus string

// States of a task.
const (
	// TaskPending: not started.
	TaskPending TaskStatus = "Pending"
	// TaskRunning: started; its deadline runs.
	TaskRunning TaskStatus = "Running"
	// TaskComplete: done.
	TaskComplete TaskStatus = "Complete"
	// TaskFailed: failed for good or out of time.
	TaskFailed TaskStatus = "Failed"
	// TaskSkipped: a cleanup that failed and only warned.
	TaskSkipped TaskStatus = "Skipped"
)

// Task is one idempotent step of a plan.
type Task struct {
	// Type names the step.
	Type TaskType `json:"type"`
	// ID is a UUIDv5 of plan id, type and index.
	ID string `json:"id"`
	// Status is the state of the task.
	Status TaskStatus `json:"status"`
	// Why says in one line why the task is in the plan.
	Why string `json:"why"`
	// Params are frozen when the plan is built.
	// +optional
	Params TaskParams `json:"params,omitempty"`
	// Output is what the task returned.
	// +optional
	Output *TaskOutput `json:"output,omitempty"`
	// Attempts counts the runs that ended in an error.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`
	// StartedAt is when the task first ran.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// FinishedAt is when the task ended.
	// +optional
	FinishedAt *metav1.MicroTime `json:"finishedAt,omitempty"`
	// Deadline is when the task fails; set when it starts.
	// +optional
	Deadline *metav1.MicroTime `json:"deadline,omitempty"`
	// Message says what the task waits for.
	// +optional
	Message string `json:"message,omitempty"`
	// Error is the last error.
	// +optional
	Error string `json:"error,omitempty"`
}

// TaskOutput is what a task returned for the tasks after it.
type TaskOutput struct {
	// Generation of the object that an apply returned.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// PodUID of the pod that the task saw, deleted or judged.
	// +optional
	PodUID string `json:"podUID,omitempty"`
	// Accepted says that the sidecar accepted mark-ready: the point of no return is passed.
	// +optional
	Accepted bool `json:"accepted,omitempty"`
	// FingerprintSHA256 of the leaf certificate observed, in lower-case hex.
	// +optional
	FingerprintSHA256 string `json:"fingerprintSHA256,omitempty"`
	// NotAfter of the leaf certificate observed.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
}

// PlanSummary sums up a plan that ended.
type PlanSummary struct {
	// ID of the plan.
	ID string `json:"id"`
	// Kind of the plan.
	Kind PlanKind `json:"kind"`
	// Causes of the plan.
	//
	// +optional
	// +listType=atomic
	Causes []PlanCause `json:"causes,omitempty"`
	// Outcome is the phase in which the plan ended.
	Outcome PlanPhase `json:"outcome"`
	// Target of the plan.
	Target PlanTarget `json:"target"`
	// StartedAt is when the plan was built.
	StartedAt metav1.MicroTime `json:"startedAt"`
	// FinishedAt is when the plan ended.
	FinishedAt metav1.MicroTime `json:"finishedAt"`
	// PodCycle is how long the pod was away: from replace-pod to the end of mark-ready.
	// +optional
	PodCycle *metav1.Duration `json:"podCycle,omitempty"`
	// Tasks with their durations.
	//
	// +optional
	// +listType=atomic
	Tasks []TaskSummary `json:"tasks,omitempty"`
	// FailedTask is the type of the task that failed.
	// +optional
	FailedTask TaskType `json:"failedTask,omitempty"`
	// Detail says in one line what failed, or what took the plan's place.
	// +optional
	Detail string `json:"detail,omitempty"`
}

// TaskSummary is one task of a plan that ended.
type TaskSummary struct {
	// Type of the task.
	Type TaskType `json:"type"`
	// Status in which it ended.
	Status TaskStatus `json:"status"`
	// Duration from start to end.
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`
}
