// Package resources renders the objects of a node. It is pure: every render is a function of its owner and of params that
// were frozen when the plan was built, so that a task can render the same object twice.
package resources

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
)

// Names of containers.
const (
	// ContainerSeid is the chain daemon.
	ContainerSeid = "seid"
	// ContainerSeidInit creates the home directory once.
	ContainerSeidInit = "seid-init"
	// ContainerSidecar is a native sidecar: an init container that is always restarted.
	ContainerSidecar = "sei-sidecar"
	// ContainerProxy is a native sidecar, with TLS on.
	ContainerProxy = "kube-rbac-proxy"
)

// Ports of the pod.
const (
	// PortSidecar is the default port of the sidecar's HTTP API.
	PortSidecar int32 = 7777
	// PortProxy is the port of kube-rbac-proxy, with TLS on.
	PortProxy int32 = 8443
	// PortP2P is seid's peer-to-peer port.
	PortP2P int32 = 26656
	// PortRPC is seid's CometBFT RPC port.
	PortRPC int32 = 26657
	// PortEVM is seid's Ethereum JSON-RPC port.
	PortEVM int32 = 8545
	// PortEVMWebSocket is seid's Ethereum websocket port.
	PortEVMWebSocket int32 = 8546
	// PortGRPC is seid's gRPC port.
	PortGRPC int32 = 9090
	// PortREST is seid's REST port.
	PortREST int32 = 1317
)

// Names of ports.
const (
	// PortNameSidecar is published with TLS off.
	PortNameSidecar = "sidecar"
	// PortNameProxy is published with TLS on.
	PortNameProxy = "sidecar-tls"
	// PortNameRPC is seid's CometBFT RPC.
	PortNameRPC = "rpc"
)

// Names of volumes.
const (
	// VolumeData holds the chain data.
	VolumeData = "data"
	// VolumeTLS is the TLS Secret, with TLS on.
	VolumeTLS = "sidecar-tls"
	// VolumeProxyConfig is the proxy's configuration, with TLS on.
	VolumeProxyConfig = "rbac-proxy-config"
	// VolumeTmp is the sidecar's scratch space.
	VolumeTmp = "sidecar-tmp"
)

const (
	// Home is seid's home directory, on the data volume.
	Home = "/sei"
	// EnvSidecarPort tells the sidecar its port, and the start gate where to ask.
	EnvSidecarPort = "SEI_SIDECAR_PORT"
	// EnvAuthnMode tells the sidecar to listen on loopback and to believe the proxy's X-Remote-User. Set with TLS on.
	EnvAuthnMode = "SEI_SIDECAR_AUTHN_MODE"
	// AuthnModeTrustedHeader is the value of EnvAuthnMode.
	AuthnModeTrustedHeader = "trusted-header"
	// TokenAudience is the audience of tokens that the proxy accepts.
	TokenAudience = "sei-sidecar"
	// ProxyConfigKey is the key of the proxy's configuration in its ConfigMap.
	ProxyConfigKey = "config.yaml"
)

// ClaimName is the PersistentVolumeClaim of a node: the imported one, or "data-<node>".
func ClaimName(node *v1alpha1.SeiNode) string {
	if name := importedClaim(node); name != "" {
		return name
	}
	return "data-" + node.Name
}

func importedClaim(node *v1alpha1.SeiNode) string {
	if v := node.Spec.DataVolume; v != nil && v.Import != nil {
		return v.Import.PVCName
	}
	return ""
}

// PodName is the one pod of a node.
func PodName(node string) string { return node + "-0" }

// CertificateName is the Certificate of a node, and the Secret that is issued for it.
func CertificateName(node string) string { return node + "-sidecar-tls" }

// ProxyConfigName is the ConfigMap of the node's proxy.
func ProxyConfigName(node string) string { return node + "-rbac-proxy-config" }

// SecretName is the TLS Secret of a node under a configuration; empty when TLS is off.
func SecretName(node string, tls *v1alpha1.SidecarTLSConfig) string {
	switch {
	case tls == nil:
		return ""
	case tls.SecretName != "":
		return tls.SecretName
	default:
		return CertificateName(node)
	}
}

// Owner is the SeiNode that an object belongs to.
type Owner struct {
	Namespace, Name string
	UID             types.UID
}

// OwnerOf is a node as an owner.
func OwnerOf(node *v1alpha1.SeiNode) Owner {
	return Owner{Namespace: node.Namespace, Name: node.Name, UID: node.UID}
}

// Reference is the controller reference to the node.
func (o Owner) Reference() metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion:         v1alpha1.GroupVersion.String(),
		Kind:               "SeiNode",
		Name:               o.Name,
		UID:                o.UID,
		Controller:         new(true),
		BlockOwnerDeletion: new(true),
	}
}

// meta is the metadata of an owned object.
func (o Owner) meta(name, chain string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       o.Namespace,
		Name:            name,
		Labels:          o.labels(chain),
		OwnerReferences: []metav1.OwnerReference{o.Reference()},
	}
}

func (o Owner) labels(chain string) map[string]string {
	return map[string]string{v1alpha1.LabelNode: o.Name, v1alpha1.LabelChain: chain}
}

// selector matches the pod of the node. Only the node's name: a selector cannot be changed later.
func (o Owner) selector() map[string]string { return map[string]string{v1alpha1.LabelNode: o.Name} }
