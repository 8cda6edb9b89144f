package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodePhase is the coarse state of a node.
//
// +kubebuilder:validation:Enum=Pending;Initializing;Running;Failed;Terminating
type NodePhase string

// Phases of a node.
const (
	// PhasePending: no plan has run yet.
	PhasePending NodePhase = "Pending"
	// PhaseInitializing: a NodeInit plan is under way.
	PhaseInitializing NodePhase = "Initializing"
	// PhaseRunning: the node was initialised.
	PhaseRunning NodePhase = "Running"
	// PhaseFailed: initialisation failed for good, until the spec changes or a retry is requested.
	PhaseFailed NodePhase = "Failed"
	// PhaseTerminating: the node is being deleted.
	PhaseTerminating NodePhase = "Terminating"
)

// SeiNodeStatus says what was observed of a node.
type SeiNodeStatus struct {
	// ObservedGeneration is the generation of the spec that this status was computed from.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is the coarse state of the node.
	// +optional
	Phase NodePhase `json:"phase,omitempty"`
	// CurrentImage is the image of seid that was observed running.
	// +optional
	CurrentImage string `json:"currentImage,omitempty"`
	// CurrentSidecarTLS is the TLS configuration that was observed serving; nil when TLS is not running. It alone
	// decides how the sidecar is talked to.
	// +optional
	CurrentSidecarTLS *ObservedSidecarTLS `json:"currentSidecarTLS,omitempty"`
	// SidecarTLS is the contract that whoever provisions the TLS Secret must satisfy; present while TLS is in the spec
	// or running.
	// +optional
	SidecarTLS *SidecarTLSContract `json:"sidecarTLS,omitempty"`
	// AppliedConfigHash is the hash of the overrides and peers that the sidecar applied last.
	// +optional
	AppliedConfigHash string `json:"appliedConfigHash,omitempty"`
	// FirstReadyAt is when the pod of the node was first seen Ready. A node that never was Ready does not count as
	// unavailable.
	// +optional
	FirstReadyAt *metav1.Time `json:"firstReadyAt,omitempty"`
	// Plan is the plan under way, or the one that failed last and was not replaced yet.
	// +optional
	Plan *Plan `json:"plan,omitempty"`
	// LastPlan sums up the plan that ended last.
	// +optional
	LastPlan *PlanSummary `json:"lastPlan,omitempty"`
	// Hold keeps plans of kind NodeUpdate and NodeInit from starting again after one failed for good.
	// +optional
	Hold *Hold `json:"hold,omitempty"`
	// Conditions of the node.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ObservedSidecarTLS is a TLS configuration that was observed serving.
type ObservedSidecarTLS struct {
	SidecarTLSConfig `json:",inline"`
	// Source is the configuration in one word: "ClusterIssuer/x", "Issuer/x" or "Secret/x".
	// +optional
	Source string `json:"source,omitempty"`
	// FingerprintSHA256 is the SHA-256 of the leaf certificate served, in lower-case hex.
	// +optional
	FingerprintSHA256 string `json:"fingerprintSHA256,omitempty"`
	// NotAfter is when the leaf certificate served expires.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// ObservedAt is when this leaf was first observed.
	// +optional
	ObservedAt *metav1.Time `json:"observedAt,omitempty"`
}

// SidecarTLSContract is what the TLS Secret of a node must satisfy.
type SidecarTLSContract struct {
	// SecretName is the name of the Secret.
	SecretName string `json:"secretName"`
	// RequiredDNSNames must all be covered by the certificate.
	//
	// +listType=atomic
	RequiredDNSNames []string `json:"requiredDNSNames"`
}

// Hold keeps a node from starting the same plan again. It lasts until the target changes, the certificate in a
// provisioned Secret changes, or a retry is requested.
type Hold struct {
	// Target that failed.
	Target PlanTarget `json:"target"`
	// SecretSHA256 is the SHA-256 of tls.crt in the target's provisioned Secret when the hold began, in lower-case hex.
	// +optional
	SecretSHA256 string `json:"secretSHA256,omitempty"`
	// RetrySeen is the value of the annotation sei.io/retry-requested-at when the hold began.
	// +optional
	RetrySeen string `json:"retrySeen,omitempty"`
	// PlanID of the plan that failed.
	PlanID string `json:"planID"`
	// Reason in one line.
	Reason string `json:"reason"`
	// Since when.
	Since metav1.Time `json:"since"`
}
