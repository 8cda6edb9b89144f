// Package settings holds the settings of the platform: what every driver of the engine must agree on, so that a laptop and
// the operator render the same objects. They live in one ConfigMap. The package is pure: it parses and validates.
package settings

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Where the settings live.
const (
	// Namespace of the platform's own objects.
	Namespace = "sei-system"
	// ConfigMapName of the settings.
	ConfigMapName = "seictl-config"
	// Key in the ConfigMap.
	Key = "config.yaml"
)

// DefaultMode is the key in the maps by mode that stands for every mode without an entry of its own.
const DefaultMode = "default"

// Settings of the platform. The zero value is not usable: start from Default.
type Settings struct {
	// ProxyImage of kube-rbac-proxy.
	ProxyImage string `json:"proxyImage,omitempty"`
	// SidecarImage of sei-sidecar, for nodes that name none. It has no default.
	SidecarImage string `json:"sidecarImage,omitempty"`
	// NodeServiceAccount is the ServiceAccount of node pods, in the node's namespace.
	NodeServiceAccount string `json:"nodeServiceAccount,omitempty"`
	// ClusterDomain is the DNS domain of the cluster.
	ClusterDomain string `json:"clusterDomain,omitempty"`
	// Storage of chain data.
	Storage Storage `json:"storage,omitempty"`
	// Resources of seid by mode, or "default".
	Resources map[string]corev1.ResourceRequirements `json:"resources,omitempty"`
	// Certificate says what key the issued certificates have.
	Certificate Certificate `json:"certificate,omitempty"`
	// TerminationGracePeriodSeconds is what seid gets to close its databases.
	TerminationGracePeriodSeconds int64 `json:"terminationGracePeriodSeconds,omitempty"`
	// Deadlines of tasks.
	Deadlines Deadlines `json:"deadlines,omitempty"`
	// Backoff between attempts.
	Backoff Backoff `json:"backoff,omitempty"`
	// InitAttempts is how many NodeInit plans may fail in a row before the node is Failed.
	InitAttempts int32 `json:"initAttempts,omitempty"`
	// Budgets cap pod cycles.
	Budgets Budgets `json:"budgets,omitempty"`
	// Chains are defaults by chain for the TLS flags of the CLI.
	Chains map[string]ChainDefaults `json:"chains,omitempty"`
}

// Storage of chain data.
type Storage struct {
	// ClassName of the StorageClass; the cluster's default when empty.
	ClassName string `json:"className,omitempty"`
	// Size by mode, or "default": quantities.
	Size map[string]string `json:"size,omitempty"`
}

// Certificate says what key the issued certificates have.
type Certificate struct {
	// KeyAlgorithm is RSA, ECDSA or Ed25519.
	KeyAlgorithm string `json:"keyAlgorithm,omitempty"`
	// KeySize in bits. When it is not given it is the algorithm's default: 256 for ECDSA, 2048 for RSA, none for Ed25519.
	KeySize int32 `json:"keySize,omitempty"`
}

// Deadlines of tasks, counted from the task's start.
type Deadlines struct {
	// Certificate is how long the certificate may take to be issued.
	Certificate metav1.Duration `json:"certificate,omitempty"`
	// PodReplace is how long the successor of a pod may take, on top of the grace period.
	PodReplace metav1.Duration `json:"podReplace,omitempty"`
	// Observe is how long the observers may take.
	Observe metav1.Duration `json:"observe,omitempty"`
	// SidecarTask is how long a task of the sidecar may take.
	SidecarTask metav1.Duration `json:"sidecarTask,omitempty"`
	// MarkReadyAccept is how long the sidecar may take to accept mark-ready.
	MarkReadyAccept metav1.Duration `json:"markReadyAccept,omitempty"`
	// Readiness is how long the pod may take to be Ready after mark-ready.
	Readiness metav1.Duration `json:"readiness,omitempty"`
	// Apply is how long an apply may be retried.
	Apply metav1.Duration `json:"apply,omitempty"`
	// Cleanup is how long a delete may be retried.
	Cleanup metav1.Duration `json:"cleanup,omitempty"`
}

// Backoff between attempts: doubling from Initial to Max.
type Backoff struct {
	// Initial wait after the first failure.
	Initial metav1.Duration `json:"initial,omitempty"`
	// Max wait.
	Max metav1.Duration `json:"max,omitempty"`
}

// Budgets cap the nodes of a chain that are in a pod cycle at once, whoever edited them.
type Budgets struct {
	// MaxUnavailablePerChain is a number or a percentage of the chain's nodes.
	MaxUnavailablePerChain intstr.IntOrString `json:"maxUnavailablePerChain,omitempty"`
	// Chains override it by chain.
	Chains map[string]intstr.IntOrString `json:"chains,omitempty"`
}

// ChainDefaults are defaults of one chain for the TLS flags of the CLI.
type ChainDefaults struct {
	// IssuerName of the cert-manager issuer.
	IssuerName string `json:"issuerName,omitempty"`
	// IssuerKind is ClusterIssuer (also when empty) or Issuer.
	IssuerKind string `json:"issuerKind,omitempty"`
	// Modes that a rollout covers; all when empty.
	Modes []string `json:"modes,omitempty"`
	// MaxUnavailable of a rollout; the chain's budget when nil.
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// Default settings: complete, except that SidecarImage has no default.
func Default() Settings {
	minutes := func(n time.Duration) metav1.Duration { return metav1.Duration{Duration: n * time.Minute} }
	return Settings{
		ProxyImage:                    "quay.io/brancz/kube-rbac-proxy:v0.21.0",
		NodeServiceAccount:            "seid-node",
		ClusterDomain:                 "cluster.local",
		Storage:                       Storage{Size: map[string]string{DefaultMode: "500Gi"}},
		Certificate:                   Certificate{KeyAlgorithm: "ECDSA", KeySize: 256},
		TerminationGracePeriodSeconds: 300,
		Deadlines: Deadlines{
			Certificate:     minutes(5),
			PodReplace:      minutes(10),
			Observe:         minutes(5),
			SidecarTask:     minutes(10),
			MarkReadyAccept: minutes(5),
			Readiness:       minutes(30),
			Apply:           minutes(2),
			Cleanup:         minutes(2),
		},
		Backoff:      Backoff{Initial: minutes(1), Max: minutes(30)},
		InitAttempts: 5,
		Budgets:      Budgets{MaxUnavailablePerChain: intstr.FromInt32(1)},
	}
}

// StorageSize is the size of a data volume of a mode, a quantity.
func (s Settings) StorageSize(mode string) string {
	if size, ok := s.Storage.Size[mode]; ok {
		return size
	}
	return s.Storage.Size[DefaultMode]
}

// SeidResources are the resources of seid in a mode; nil when the settings have none.
func (s Settings) SeidResources(mode string) *corev1.ResourceRequirements {
	for _, key := range []string{mode, DefaultMode} {
		if r, ok := s.Resources[key]; ok {
			return r.DeepCopy()
		}
	}
	return nil
}

// MaxUnavailable is how many nodes of a chain may be in a pod cycle at once.
func (s Settings) MaxUnavailable(chain string) intstr.IntOrString {
	if v, ok := s.Budgets.Chains[chain]; ok {
		return v
	}
	return s.Budgets.MaxUnavailablePerChain
}

// RolloutMaxUnavailable is the default width of a wave of a rollout over a chain. The chain's budget caps it anyway.
func (s Settings) RolloutMaxUnavailable(chain string) intstr.IntOrString {
	if v := s.Chains[chain].MaxUnavailable; v != nil {
		return *v
	}
	return s.MaxUnavailable(chain)
}

// PodReplaceDeadline is the deadline of replace-pod: the grace period of the old pod and then the successor's own.
func (s Settings) PodReplaceDeadline() time.Duration {
	return time.Duration(s.TerminationGracePeriodSeconds)*time.Second + s.Deadlines.PodReplace.Duration
}
