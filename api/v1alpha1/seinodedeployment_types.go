package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SeiNodeDeployment stamps out SeiNodes from a template: children named "<name>-<ordinal>".
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas
// +kubebuilder:resource:shortName=snd,categories=sei
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Chain",type=string,JSONPath=`.spec.template.spec.chainId`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.spec.replicas`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Updated",type=integer,JSONPath=`.status.updatedReplicas`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 47",message="metadata.name must be a DNS-1035 label of at most 47 characters: with an ordinal it becomes the name of a SeiNode"
type SeiNodeDeployment struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec SeiNodeDeploymentSpec `json:"spec"`
	// +optional
	Status SeiNodeDeploymentStatus `json:"status,omitempty"`
}

// SeiNodeDeploymentList is a list of SeiNodeDeployments.
//
// +kubebuilder:object:root=true
type SeiNodeDeploymentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SeiNodeDeployment `json:"items"`
}

// SeiNodeDeploymentSpec says how many nodes of which kind there should be.
//
// +kubebuilder:validation:XValidation:rule="!has(self.template.spec.dataVolume) || !has(self.template.spec.dataVolume.import) || self.replicas <= 1",message="a template that imports a volume allows at most one replica: two seid on one volume corrupt it"
type SeiNodeDeploymentSpec struct {
	// Replicas is the number of children.
	//
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9999
	Replicas int32 `json:"replicas"`

	// Template of the children.
	//
	// +required
	Template SeiNodeTemplate `json:"template"`

	// UpdateStrategy says how an edit of the template reaches the children.
	//
	// +optional
	// +kubebuilder:default={}
	UpdateStrategy UpdateStrategy `json:"updateStrategy,omitempty"`
}

// SeiNodeTemplate is the template of a child.
type SeiNodeTemplate struct {
	// Metadata for the children.
	// +optional
	Metadata TemplateMetadata `json:"metadata,omitempty"`
	// Spec of the children.
	//
	// +required
	Spec SeiNodeSpec `json:"spec"`
}

// TemplateMetadata are labels and annotations of children.
type TemplateMetadata struct {
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// UpdateStrategy says how an edit of the template reaches the children.
type UpdateStrategy struct {
	// Type is InPlace: the children are edited, never recreated.
	//
	// +optional
	// +kubebuilder:default=InPlace
	// +kubebuilder:validation:Enum=InPlace
	Type string `json:"type,omitempty"`
	// MaxUnavailable is how many children may be unavailable at once, a number or a percentage of replicas (rounded
	// down, at least one).
	//
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) >= 1 : string(self).matches('^([1-9][0-9]?|100)%$')",message="maxUnavailable must be a number of at least 1 or a percentage from 1% to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// DeploymentPhase is the coarse state of a SeiNodeDeployment.
//
// +kubebuilder:validation:Enum=Pending;Progressing;Ready;Degraded;Terminating
type DeploymentPhase string

// Phases of a SeiNodeDeployment.
const (
	// DeploymentPending: no child exists yet.
	DeploymentPending DeploymentPhase = "Pending"
	// DeploymentProgressing: children are being created, updated or removed.
	DeploymentProgressing DeploymentPhase = "Progressing"
	// DeploymentReady: every child runs the template and is Ready.
	DeploymentReady DeploymentPhase = "Ready"
	// DeploymentDegraded: a child is held, failed or not Ready with nothing under way.
	DeploymentDegraded DeploymentPhase = "Degraded"
	// DeploymentTerminating: the SeiNodeDeployment is being deleted.
	DeploymentTerminating DeploymentPhase = "Terminating"
)

// SeiNodeDeploymentStatus says what was observed of the children.
type SeiNodeDeploymentStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is the coarse state.
	// +optional
	Phase DeploymentPhase `json:"phase,omitempty"`
	// Replicas is the number of children.
	// +optional
	Replicas int32 `json:"replicas"`
	// ReadyReplicas is the number of children that are Ready.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`
	// UpdatedReplicas is the number of children that run the template.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas"`
	// Conditions of the deployment.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
