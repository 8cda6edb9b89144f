package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// TaskType names a step of a plan.
//
// +kubebuilder:validation:MaxLength=63
type TaskType string

// Types of task. Section 5 of the design lists them in the order of a NodeUpdate.
const (
	// TaskEnsureDataPVC creates the PersistentVolumeClaim of the chain data, or adopts the one that is there.
	TaskEnsureDataPVC TaskType = "ensure-data-pvc"
	// TaskApplySidecarCert applies the cert-manager Certificate.
	TaskApplySidecarCert TaskType = "apply-sidecar-cert"
	// TaskWaitForSidecarTLSSecret waits until the TLS Secret really is issued and sound.
	TaskWaitForSidecarTLSSecret TaskType = "wait-for-sidecar-tls-secret"
	// TaskApplyRBACProxyConfig applies the ConfigMap of kube-rbac-proxy.
	TaskApplyRBACProxyConfig TaskType = "apply-rbac-proxy-config"
	// TaskApplyStatefulSet applies the StatefulSet.
	TaskApplyStatefulSet TaskType = "apply-statefulset"
	// TaskApplyService applies the headless Service.
	TaskApplyService TaskType = "apply-service"
	// TaskReplacePod deletes a pod of another revision and waits for its successor.
	TaskReplacePod TaskType = "replace-pod"
	// TaskObserveImage observes the image that the pod runs.
	TaskObserveImage TaskType = "observe-image"
	// TaskObserveSidecarTLS observes what the pod serves.
	TaskObserveSidecarTLS TaskType = "observe-sidecar-tls"
	// TaskConfigApply has the sidecar write seid's configuration.
	TaskConfigApply TaskType = "config-apply"
	// TaskConfigValidate has the sidecar validate seid's configuration.
	TaskConfigValidate TaskType = "config-validate"
	// TaskMarkReady releases the start gate: the point of no return.
	TaskMarkReady TaskType = "mark-ready"
	// TaskDeleteRBACProxyConfig deletes the ConfigMap of kube-rbac-proxy.
	TaskDeleteRBACProxyConfig TaskType = "delete-rbac-proxy-config"
	// TaskDeleteSidecarCert deletes the Certificate and the Secret that was issued for it.
	TaskDeleteSidecarCert TaskType = "delete-sidecar-cert"
)

// TaskParams are the frozen parameters of a task: at most the one field of its type is set. The params of an apply task
// are its complete render input.
type TaskParams struct {
	// +optional
	EnsureDataPVC *DataPVCParams `json:"ensureDataPVC,omitempty"`
	// +optional
	SidecarCert *SidecarCertParams `json:"sidecarCert,omitempty"`
	// +optional
	TLSSecret *TLSSecretParams `json:"tlsSecret,omitempty"`
	// +optional
	RBACProxyConfig *RBACProxyConfigParams `json:"rbacProxyConfig,omitempty"`
	// +optional
	StatefulSet *StatefulSetParams `json:"statefulSet,omitempty"`
	// +optional
	Service *ServiceParams `json:"service,omitempty"`
	// +optional
	ReplacePod *ReplacePodParams `json:"replacePod,omitempty"`
	// +optional
	ObserveImage *ObserveImageParams `json:"observeImage,omitempty"`
	// +optional
	ObserveSidecarTLS *ObserveSidecarTLSParams `json:"observeSidecarTLS,omitempty"`
	// +optional
	ConfigApply *ConfigApplyParams `json:"configApply,omitempty"`
	// +optional
	MarkReady *MarkReadyParams `json:"markReady,omitempty"`
}

// DataPVCParams are the params of ensure-data-pvc.
type DataPVCParams struct {
	// ClaimName of the PersistentVolumeClaim.
	ClaimName string `json:"claimName"`
	// ChainID becomes the label sei.io/chain, which an adopted claim must carry as well.
	ChainID string `json:"chainID"`
	// Imported claims must exist and are never written.
	// +optional
	Imported bool `json:"imported,omitempty"`
	// Size requested, a quantity.
	// +optional
	Size string `json:"size,omitempty"`
	// StorageClassName; the cluster's default when empty.
	// +optional
	StorageClassName string `json:"storageClassName,omitempty"`
}

// SidecarCertParams are the params of apply-sidecar-cert and delete-sidecar-cert.
type SidecarCertParams struct {
	// Name of the Certificate and of its Secret.
	Name string `json:"name"`
	// ChainID becomes the label sei.io/chain.
	// +optional
	ChainID string `json:"chainID,omitempty"`
	// IssuerName of the Certificate; empty for a delete.
	// +optional
	IssuerName string `json:"issuerName,omitempty"`
	// IssuerKind of the Certificate; empty for a delete.
	// +optional
	IssuerKind string `json:"issuerKind,omitempty"`
	// DNSNames of the Certificate.
	//
	// +optional
	// +listType=atomic
	DNSNames []string `json:"dnsNames,omitempty"`
	// KeyAlgorithm is RSA, ECDSA or Ed25519.
	// +optional
	KeyAlgorithm string `json:"keyAlgorithm,omitempty"`
	// KeySize in bits; zero for the algorithm's default.
	// +optional
	KeySize int32 `json:"keySize,omitempty"`
}

// TLSSecretParams say which Secret must be sound, and for whom.
type TLSSecretParams struct {
	// TLS is the configuration that the Secret belongs to, with the issuer kind filled in.
	TLS SidecarTLSConfig `json:"tls"`
	// SecretName of the Secret.
	SecretName string `json:"secretName"`
	// DNSNames that the certificate must cover.
	//
	// +listType=atomic
	DNSNames []string `json:"dnsNames"`
	// AnySoundPair accepts a pair of another issuer: for a rollback of a node that is down.
	// +optional
	AnySoundPair bool `json:"anySoundPair,omitempty"`
}

// RBACProxyConfigParams are the params of apply-rbac-proxy-config and delete-rbac-proxy-config.
type RBACProxyConfigParams struct {
	// Name of the ConfigMap.
	Name string `json:"name"`
	// ChainID becomes the label sei.io/chain.
	// +optional
	ChainID string `json:"chainID,omitempty"`
}

// StatefulSetParams are the params of apply-statefulset: a template to render, or a revision to return to.
type StatefulSetParams struct {
	// FromRevision is the ControllerRevision whose template is applied as it is.
	// +optional
	FromRevision string `json:"fromRevision,omitempty"`
	// Template is the complete render input; nil with FromRevision.
	// +optional
	Template *NodeTemplate `json:"template,omitempty"`
}

// NodeTemplate is the complete render input of a node's StatefulSet.
type NodeTemplate struct {
	// ChainID of the node.
	ChainID string `json:"chainID"`
	// Mode of the node: fullNode, archive, replayer or validator.
	Mode string `json:"mode"`
	// Image of seid.
	Image string `json:"image"`
	// SidecarImage of sei-sidecar.
	SidecarImage string `json:"sidecarImage"`
	// SidecarPort of sei-sidecar's HTTP API.
	SidecarPort int32 `json:"sidecarPort"`
	// SidecarResources of the sidecar's container.
	// +optional
	SidecarResources *corev1.ResourceRequirements `json:"sidecarResources,omitempty"`
	// SeidResources of seid's container.
	// +optional
	SeidResources *corev1.ResourceRequirements `json:"seidResources,omitempty"`
	// TLS puts the proxy in front; nil when off.
	// +optional
	TLS *NodeTemplateTLS `json:"tls,omitempty"`
	// PodLabels from the spec.
	// +optional
	PodLabels map[string]string `json:"podLabels,omitempty"`
	// ClaimName of the data volume.
	ClaimName string `json:"claimName"`
	// ServiceAccountName of the pod.
	ServiceAccountName string `json:"serviceAccountName"`
	// TerminationGracePeriodSeconds of the pod.
	TerminationGracePeriodSeconds int64 `json:"terminationGracePeriodSeconds"`
}

// NodeTemplateTLS is the TLS part of a NodeTemplate.
type NodeTemplateTLS struct {
	// SecretName that is mounted.
	SecretName string `json:"secretName"`
	// ConfigMapName with the proxy's configuration.
	ConfigMapName string `json:"configMapName"`
	// ConfigHash of the proxy's configuration, for the template annotation.
	ConfigHash string `json:"configHash"`
	// ProxyImage of kube-rbac-proxy.
	ProxyImage string `json:"proxyImage"`
}

// ServiceParams are the params of apply-service.
type ServiceParams struct {
	// ChainID becomes the label sei.io/chain.
	ChainID string `json:"chainID"`
	// SidecarPort of the sidecar's HTTP API.
	SidecarPort int32 `json:"sidecarPort"`
	// TLS says that the proxy's port is published instead of the sidecar's.
	// +optional
	TLS bool `json:"tls,omitempty"`
}

// ReplacePodParams are the params of replace-pod.
type ReplacePodParams struct {
	// TLSSecret that the new template mounts, judged again right before the delete; nil when it mounts none.
	// +optional
	TLSSecret *TLSSecretParams `json:"tlsSecret,omitempty"`
}

// ObserveImageParams are the params of observe-image.
type ObserveImageParams struct {
	// Image that the pod must run.
	Image string `json:"image"`
}

// ObserveSidecarTLSParams are the params of observe-sidecar-tls.
type ObserveSidecarTLSParams struct {
	// TLSSecret whose leaf must be served; nil when TLS must be off.
	// +optional
	TLSSecret *TLSSecretParams `json:"tlsSecret,omitempty"`
}

// ConfigApplyParams are the params of config-apply.
type ConfigApplyParams struct {
	// Overrides of seid's settings.
	// +optional
	Overrides map[string]string `json:"overrides,omitempty"`
	// Peers of seid.
	//
	// +optional
	// +listType=atomic
	Peers []PeerSource `json:"peers,omitempty"`
	// Hash of both.
	Hash string `json:"hash"`
}

// MarkReadyParams are the params of mark-ready.
type MarkReadyParams struct {
	// AwaitPodReady waits until the pod is Ready; without it a started seid suffices.
	// +optional
	AwaitPodReady bool `json:"awaitPodReady,omitempty"`
}
