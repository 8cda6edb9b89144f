package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SeiNode is one blockchain node: seid, its sidecar and, with TLS on, the proxy in front of the sidecar,
// run as one single-replica StatefulSet.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=sn;snode,categories=sei
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Chain",type=string,JSONPath=`.spec.chainId`
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.status.currentImage`
// +kubebuilder:printcolumn:name="TLS",type=string,JSONPath=`.status.currentSidecarTLS.source`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.conditions[?(@.type=="SidecarTLSSecretReady")].reason`
// +kubebuilder:printcolumn:name="Ready",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Plan",type=string,priority=1,JSONPath=`.status.plan.kind`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 52",message="metadata.name must be a DNS-1035 label (lower-case letters, digits and '-', starting with a letter) of at most 52 characters: it becomes the name of the StatefulSet, its pod and their labels"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.sidecar) || !has(self.spec.sidecar.tls) || !has(self.spec.sidecar.tls.secretName) || self.spec.sidecar.tls.secretName != self.metadata.name + '-sidecar-tls'",message="spec.sidecar.tls.secretName must not be '<node>-sidecar-tls': that is the name of the Secret that seictl has issued; name the Secret that you provision differently"
type SeiNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec SeiNodeSpec `json:"spec"`
	// +optional
	Status SeiNodeStatus `json:"status,omitempty"`
}

// SeiNodeList is a list of SeiNodes.
//
// +kubebuilder:object:root=true
type SeiNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SeiNode `json:"items"`
}

// SeiNodeSpec says what a node should run.
//
// +kubebuilder:validation:XValidation:rule="(has(self.fullNode) ? 1 : 0) + (has(self.archive) ? 1 : 0) + (has(self.replayer) ? 1 : 0) + (has(self.validator) ? 1 : 0) == 1",message="exactly one mode is required: fullNode, archive, replayer or validator"
// +kubebuilder:validation:XValidation:rule="has(self.fullNode) == has(oldSelf.fullNode) && has(self.archive) == has(oldSelf.archive) && has(self.replayer) == has(oldSelf.replayer) && has(self.validator) == has(oldSelf.validator)",message="the mode is immutable: create another node for another mode"
// +kubebuilder:validation:XValidation:rule="has(self.dataVolume) == has(oldSelf.dataVolume) && (!has(self.dataVolume) || self.dataVolume == oldSelf.dataVolume)",message="dataVolume is immutable: it names the volume that holds the chain data"
type SeiNodeSpec struct {
	// ChainID is the chain that the node follows, for example "pacific-1". Immutable.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="chainId is immutable"
	ChainID string `json:"chainId"`

	// Image is the container image of seid. Editing it on a Running node rolls the node.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`

	// FullNode runs the node as a full node.
	// +optional
	FullNode *FullNodeSpec `json:"fullNode,omitempty"`
	// Archive runs the node as an archive node, which keeps all history.
	// +optional
	Archive *ArchiveSpec `json:"archive,omitempty"`
	// Replayer runs the node as a replayer, which re-executes blocks.
	// +optional
	Replayer *ReplayerSpec `json:"replayer,omitempty"`
	// Validator runs the node as a validator, which signs blocks.
	// +optional
	Validator *ValidatorSpec `json:"validator,omitempty"`

	// Overrides are settings of seid by dotted key ("p2p.max_num_inbound_peers"). They are applied by the sidecar when
	// the node is initialised; a later edit is reported as not applied to the running node.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Overrides map[string]string `json:"overrides,omitempty"`

	// PodLabels are added to the labels of the pod. Labels in the domain sei.io are reserved.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('sei.io/'))",message="podLabels must not use the prefix sei.io/: those labels belong to seictl"
	PodLabels map[string]string `json:"podLabels,omitempty"`

	// DataVolume says where the chain data lives. Without it the node gets a PersistentVolumeClaim "data-<node>".
	// Immutable.
	// +optional
	DataVolume *DataVolume `json:"dataVolume,omitempty"`

	// Peers are the sources of the node's persistent peers. Applied at initialisation, like Overrides.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Peers []PeerSource `json:"peers,omitempty"`

	// Sidecar configures sei-sidecar.
	// +optional
	Sidecar *SidecarConfig `json:"sidecar,omitempty"`

	// Paused stops plans of kind NodeInit and NodeUpdate from starting; one that has applied its StatefulSet runs to
	// its end.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// FullNodeSpec configures a full node.
type FullNodeSpec struct{}

// ArchiveSpec configures an archive node.
type ArchiveSpec struct{}

// ReplayerSpec configures a replayer.
type ReplayerSpec struct{}

// ValidatorSpec configures a validator.
type ValidatorSpec struct{}

// DataVolume says where the chain data lives.
type DataVolume struct {
	// Import uses a PersistentVolumeClaim that exists already. seictl never creates, changes or deletes it.
	// +optional
	Import *DataVolumeImport `json:"import,omitempty"`
}

// DataVolumeImport names an existing PersistentVolumeClaim.
type DataVolumeImport struct {
	// PVCName is the name of the PersistentVolumeClaim, in the namespace of the node.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PVCName string `json:"pvcName"`
}

// PeerSource is one source of peers: static addresses or other SeiNodes by label.
//
// +kubebuilder:validation:XValidation:rule="has(self.static) != has(self.label)",message="a peer source is exactly one of static and label"
type PeerSource struct {
	// Static lists peers by address.
	// +optional
	Static *StaticPeers `json:"static,omitempty"`
	// Label selects SeiNodes whose address is looked up.
	// +optional
	Label *LabelPeers `json:"label,omitempty"`
}

// StaticPeers lists peers by address.
type StaticPeers struct {
	// Addresses are of the form "<node id>@<host>:<port>".
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Addresses []string `json:"addresses"`
}

// LabelPeers selects SeiNodes by label.
type LabelPeers struct {
	// Selector is matched against the labels of SeiNodes.
	//
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	Selector map[string]string `json:"selector"`
	// Namespace to look in; that of the node when empty.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// SidecarConfig configures sei-sidecar.
type SidecarConfig struct {
	// Image is the container image of the sidecar; the platform's default when empty. An edit takes effect at the next
	// pod cycle.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// Port of the sidecar's HTTP API; 7777 when zero. An edit takes effect at the next pod cycle.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="!(self in [8443, 26656, 26657, 8545, 8546, 9090, 1317])",message="sidecar.port is taken by another container of the pod (8443, 26656, 26657, 8545, 8546, 9090 and 1317 are)"
	Port int32 `json:"port,omitempty"`

	// Resources of the sidecar's container. An edit takes effect at the next pod cycle.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// TLS puts kube-rbac-proxy in front of the sidecar's API. Adding, changing or removing it on a Running node rolls
	// the node: one plan, at most one pod cycle; an issuer swapped for another needs none. Removing it takes the
	// annotation sei.io/allow-sidecar-tls-removal: "true" as well; without it the node keeps TLS.
	// +optional
	TLS *SidecarTLSConfig `json:"tls,omitempty"`
}

// SidecarTLSConfig says where the serving certificate of the sidecar's proxy comes from: an issuer of cert-manager, or a
// Secret that somebody else provisions.
//
// +kubebuilder:validation:XValidation:rule="has(self.issuerName) != has(self.secretName)",message="exactly one of issuerName and secretName is required"
// +kubebuilder:validation:XValidation:rule="!(has(self.issuerKind) && has(self.secretName))",message="issuerKind does not go with secretName"
type SidecarTLSConfig struct {
	// IssuerName is the cert-manager issuer of a Certificate that seictl owns.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	IssuerName string `json:"issuerName,omitempty"`
	// IssuerKind is ClusterIssuer (also when empty) or Issuer.
	//
	// +optional
	// +kubebuilder:validation:Enum=ClusterIssuer;Issuer
	IssuerKind string `json:"issuerKind,omitempty"`
	// SecretName is a Secret of type kubernetes.io/tls that somebody else provisions. seictl never writes it.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
}
