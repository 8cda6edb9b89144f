package resources

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/settings"
)

// CheckImages says which image a node lacks to be rendered with a target: the settings need not name every image, only
// those that a node needs.
func CheckImages(node *v1alpha1.SeiNode, target v1alpha1.PlanTarget, s settings.Settings) error {
	var errs []error
	where := fmt.Sprintf("ConfigMap %s/%s", settings.Namespace, settings.ConfigMapName)
	if sidecarOf(node).Image == "" && s.SidecarImage == "" {
		errs = append(errs, fmt.Errorf("no image for %s: set spec.sidecar.image, or sidecarImage in %s", ContainerSidecar, where))
	}
	if target.SidecarTLS != nil && s.ProxyImage == "" {
		errs = append(errs, fmt.Errorf("no image for %s: set proxyImage in %s", ContainerProxy, where))
	}
	return errors.Join(errs...)
}

func sidecarOf(node *v1alpha1.SeiNode) v1alpha1.SidecarConfig {
	if node.Spec.Sidecar == nil {
		return v1alpha1.SidecarConfig{}
	}
	return *node.Spec.Sidecar
}

func sidecarPort(node *v1alpha1.SeiNode) int32 { return cmp.Or(sidecarOf(node).Port, PortSidecar) }

// NodeTemplateFor freezes what the StatefulSet of a node is rendered from.
func NodeTemplateFor(node *v1alpha1.SeiNode, target v1alpha1.PlanTarget, s settings.Settings) v1alpha1.NodeTemplate {
	sidecar := sidecarOf(node)
	t := v1alpha1.NodeTemplate{
		ChainID:                       node.Spec.ChainID,
		Mode:                          node.Mode(),
		Image:                         target.Image,
		SidecarImage:                  cmp.Or(sidecar.Image, s.SidecarImage),
		SidecarPort:                   sidecarPort(node),
		SidecarResources:              sidecar.Resources.DeepCopy(),
		SeidResources:                 s.SeidResources(node.Mode()),
		PodLabels:                     maps.Clone(node.Spec.PodLabels),
		ClaimName:                     ClaimName(node),
		ServiceAccountName:            s.NodeServiceAccount,
		TerminationGracePeriodSeconds: s.TerminationGracePeriodSeconds,
	}
	if target.SidecarTLS != nil {
		t.TLS = &v1alpha1.NodeTemplateTLS{
			SecretName:    SecretName(node.Name, target.SidecarTLS),
			ConfigMapName: ProxyConfigName(node.Name),
			ConfigHash:    ProxyConfigHash(OwnerOf(node)),
			ProxyImage:    s.ProxyImage,
		}
	}
	return t
}

// ServiceParamsFor freezes what the Service of a node is rendered from.
func ServiceParamsFor(node *v1alpha1.SeiNode, target v1alpha1.PlanTarget) v1alpha1.ServiceParams {
	return v1alpha1.ServiceParams{
		ChainID:     node.Spec.ChainID,
		SidecarPort: sidecarPort(node),
		TLS:         target.SidecarTLS != nil,
	}
}

// SidecarCertParamsFor freezes what the Certificate of a node is rendered from. Without an issuer, which is what a delete
// has, they name the Certificate only.
func SidecarCertParamsFor(node *v1alpha1.SeiNode, tls *v1alpha1.SidecarTLSConfig, s settings.Settings) v1alpha1.SidecarCertParams {
	p := v1alpha1.SidecarCertParams{Name: CertificateName(node.Name), ChainID: node.Spec.ChainID}
	tls = tls.Normalize()
	if tls == nil || tls.IssuerName == "" {
		return p
	}
	p.IssuerName, p.IssuerKind = tls.IssuerName, tls.IssuerKind
	p.DNSNames = certs.RequiredDNSNames(node.Name, node.Namespace, s.ClusterDomain)
	p.KeyAlgorithm, p.KeySize = s.Certificate.KeyAlgorithm, s.Certificate.KeySize
	return p
}

// TLSSecretParamsFor freezes which Secret must be sound; zero when TLS is off.
func TLSSecretParamsFor(node *v1alpha1.SeiNode, tls *v1alpha1.SidecarTLSConfig, s settings.Settings) v1alpha1.TLSSecretParams {
	if tls == nil {
		return v1alpha1.TLSSecretParams{}
	}
	return v1alpha1.TLSSecretParams{
		TLS:        *tls.Normalize(),
		SecretName: SecretName(node.Name, tls),
		DNSNames:   certs.RequiredDNSNames(node.Name, node.Namespace, s.ClusterDomain),
	}
}

// WantOf is what the Secret of the params must be, in the words of certs.
func WantOf(namespace string, p v1alpha1.TLSSecretParams) certs.Want {
	return certs.Want{
		Namespace: namespace, SecretName: p.SecretName, TLS: p.TLS, DNSNames: p.DNSNames, AnySoundPair: p.AnySoundPair,
	}
}

// DataPVCParamsFor freezes what the data volume of a node is rendered from.
func DataPVCParamsFor(node *v1alpha1.SeiNode, s settings.Settings) v1alpha1.DataPVCParams {
	p := v1alpha1.DataPVCParams{ClaimName: ClaimName(node), ChainID: node.Spec.ChainID}
	if importedClaim(node) != "" {
		p.Imported = true
		return p
	}
	p.Size, p.StorageClassName = s.StorageSize(node.Mode()), s.Storage.ClassName
	return p
}

// RBACProxyConfigParamsFor freezes what the proxy's ConfigMap is rendered from.
func RBACProxyConfigParamsFor(node *v1alpha1.SeiNode) v1alpha1.RBACProxyConfigParams {
	return v1alpha1.RBACProxyConfigParams{Name: ProxyConfigName(node.Name), ChainID: node.Spec.ChainID}
}

// ConfigApplyParamsFor freezes what the sidecar configures seid with.
func ConfigApplyParamsFor(node *v1alpha1.SeiNode) v1alpha1.ConfigApplyParams {
	p := v1alpha1.ConfigApplyParams{Overrides: maps.Clone(node.Spec.Overrides)}
	for _, peer := range node.Spec.Peers {
		p.Peers = append(p.Peers, *peer.DeepCopy())
	}
	p.Hash = configHash(p)
	return p
}

// configHash is the SHA-256 of the canonical JSON of overrides and peers, in lower-case hex. encoding/json sorts the keys
// of maps; an empty map or list is the same as none.
func configHash(p v1alpha1.ConfigApplyParams) string {
	p.Hash = ""
	// Maps and slices of strings always marshal.
	raw, _ := json.Marshal(p)
	return hexSHA256(raw)
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// SidecarPortOf reads the port of the sidecar's HTTP API from a live pod; the default when the pod does not say.
func SidecarPortOf(pod *corev1.PodSpec) int32 {
	for _, c := range pod.InitContainers {
		if c.Name != ContainerSidecar {
			continue
		}
		for _, e := range c.Env {
			if e.Name == EnvSidecarPort {
				return parsePort(e.Value)
			}
		}
	}
	return PortSidecar
}
