package resources

import (
	"fmt"
	"slices"
	"strconv"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
)

// issuerGroup is the group of cert-manager's own issuers.
const issuerGroup = "cert-manager.io"

// Service renders the headless Service of a node. It publishes addresses that are not ready: while a pod is parked
// somebody has to reach its sidecar, and peers have to find each other before they are in sync.
func Service(o Owner, p v1alpha1.ServiceParams) *corev1.Service {
	sidecar := servicePort(PortNameSidecar, p.SidecarPort)
	if p.TLS {
		sidecar = servicePort(PortNameProxy, PortProxy)
	}
	ports := []corev1.ServicePort{sidecar}
	for _, port := range seidPorts {
		ports = append(ports, servicePort(port.name, port.number))
	}
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: o.meta(o.Name, p.ChainID),
		Spec: corev1.ServiceSpec{
			Type:                     corev1.ServiceTypeClusterIP,
			ClusterIP:                corev1.ClusterIPNone,
			PublishNotReadyAddresses: true,
			Selector:                 o.selector(),
			Ports:                    ports,
		},
	}
}

func servicePort(name string, port int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: port, TargetPort: intstr.FromInt32(port), Protocol: corev1.ProtocolTCP}
}

// Certificate renders the cert-manager Certificate of a node. It has no common name: one over 64 characters is refused,
// and nobody reads it.
func Certificate(o Owner, p v1alpha1.SidecarCertParams) *cmv1.Certificate {
	return &cmv1.Certificate{
		TypeMeta:   metav1.TypeMeta{APIVersion: cmv1.SchemeGroupVersion.String(), Kind: cmv1.CertificateKind},
		ObjectMeta: o.meta(p.Name, p.ChainID),
		Spec: cmv1.CertificateSpec{
			SecretName: p.Name,
			DNSNames:   slices.Clone(p.DNSNames),
			IssuerRef:  cmmeta.IssuerReference{Name: p.IssuerName, Kind: p.IssuerKind, Group: issuerGroup},
			PrivateKey: &cmv1.CertificatePrivateKey{
				Algorithm:      cmv1.PrivateKeyAlgorithm(p.KeyAlgorithm),
				Size:           int(p.KeySize),
				RotationPolicy: cmv1.RotationPolicyAlways,
			},
			Usages: []cmv1.KeyUsage{cmv1.UsageServerAuth, cmv1.UsageDigitalSignature},
		},
	}
}

// ProxyConfig renders the ConfigMap of a node's kube-rbac-proxy.
func ProxyConfig(o Owner, p v1alpha1.RBACProxyConfigParams) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: o.meta(p.Name, p.ChainID),
		Data:       map[string]string{ProxyConfigKey: proxyConfig(o)},
	}
}

// proxyConfig says what a caller of the sidecar must be allowed to do; the verb follows from the HTTP method. The proxy
// drops keys that it does not know in silence: "group" for "apiGroup" would be a 403 for everybody.
func proxyConfig(o Owner) string {
	return fmt.Sprintf(`authorization:
  resourceAttributes:
    apiGroup: %s
    apiVersion: %s
    resource: seinodetasks
    namespace: %s
    name: %s
`, v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, strconv.Quote(o.Namespace), strconv.Quote(o.Name))
}

// ProxyConfigHash is the hash of the proxy's configuration, for the pod template: the proxy reads it once, at start.
func ProxyConfigHash(o Owner) string { return hexSHA256([]byte(proxyConfig(o))) }

// DataPVC renders the data volume of a node. It has no owner: deleting a SeiNode never deletes chain data.
func DataPVC(o Owner, p v1alpha1.DataPVCParams) *corev1.PersistentVolumeClaim {
	// A size that is no quantity becomes zero, which the API server refuses; the settings were validated.
	size, _ := resource.ParseQuantity(p.Size)
	pvc := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: p.ClaimName, Labels: o.labels(p.ChainID)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: size},
			},
		},
	}
	if p.StorageClassName != "" {
		pvc.Spec.StorageClassName = &p.StorageClassName
	}
	return pvc
}

func parsePort(s string) int32 {
	port, err := strconv.ParseInt(s, 10, 32)
	if err != nil || port < 1 || port > 65535 {
		return PortSidecar
	}
	return int32(port)
}
