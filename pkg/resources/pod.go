package resources

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
)

const (
	// userID of every container, and group of the data volume: the same for all, for they share files.
	userID int64 = 65532
	// labelPrefix of labels that belong to us.
	labelPrefix = "sei.io/"

	tlsDir         = "/etc/rbac-proxy/tls"
	proxyConfigDir = "/etc/rbac-proxy/config"
)

// seidPorts are seid's ports, in the order in which they are rendered.
var seidPorts = []struct {
	name   string
	number int32
}{
	{"p2p", PortP2P},
	{PortNameRPC, PortRPC},
	{"evm", PortEVM},
	{"evm-ws", PortEVMWebSocket},
	{"grpc", PortGRPC},
	{"rest", PortREST},
}

// StatefulSet renders the StatefulSet of a node. Its template depends on the TLS Secret's name and never on the issuer:
// another issuer is no reason to restart a blockchain node.
func StatefulSet(o Owner, t v1alpha1.NodeTemplate) *appsv1.StatefulSet {
	labels := roleLabels(o, t)
	meta := o.meta(o.Name, t.ChainID)
	meta.Labels = labels
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: meta,
		Spec: appsv1.StatefulSetSpec{
			Replicas:    new(int32(1)),
			ServiceName: o.Name,
			Selector:    &metav1.LabelSelector{MatchLabels: o.selector()},
			// Parallel waits for nothing: with OrderedReady the controller holds still before a pod that never gets Ready.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			// Only replace-pod replaces the pod.
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			// A rollback takes its template from a revision, so revisions have to be kept.
			RevisionHistoryLimit: new(int32(10)),
			Template:             podTemplate(o, t),
		},
	}
}

func roleLabels(o Owner, t v1alpha1.NodeTemplate) map[string]string {
	labels := o.labels(t.ChainID)
	labels[v1alpha1.LabelRole] = t.Mode
	return labels
}

func podTemplate(o Owner, t v1alpha1.NodeTemplate) corev1.PodTemplateSpec {
	labels := maps.Clone(t.PodLabels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.DeleteFunc(labels, func(k, _ string) bool { return strings.HasPrefix(k, labelPrefix) })
	maps.Copy(labels, roleLabels(o, t))

	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			ServiceAccountName:            t.ServiceAccountName,
			TerminationGracePeriodSeconds: &t.TerminationGracePeriodSeconds,
			// Links of a Service named like the sidecar would set variables that it takes for its own.
			EnableServiceLinks: new(false),
			SecurityContext:    podSecurity(),
			InitContainers:     []corev1.Container{seidInit(o, t), sidecar(o, t)},
			Containers:         []corev1.Container{seid(o, t)},
			Volumes:            volumes(t),
		},
	}
	if t.TLS != nil {
		template.Annotations = map[string]string{v1alpha1.AnnotationProxyConfigHash: t.TLS.ConfigHash}
		template.Spec.InitContainers = append(template.Spec.InitContainers, proxy(t))
	}
	return template
}

func seidInit(o Owner, t v1alpha1.NodeTemplate) corev1.Container {
	return corev1.Container{
		Name:            ContainerSeidInit,
		Image:           t.Image,
		Command:         []string{"bash", "-c", seidInitScript},
		Env:             seidEnv(o, t),
		Resources:       resources(t.SeidResources),
		SecurityContext: containerSecurity(false),
		VolumeMounts:    []corev1.VolumeMount{dataMount()},
	}
}

func seid(o Owner, t v1alpha1.NodeTemplate) corev1.Container {
	ports := make([]corev1.ContainerPort, 0, len(seidPorts))
	for _, p := range seidPorts {
		ports = append(ports, containerPort(p.name, p.number))
	}
	return corev1.Container{
		Name:      ContainerSeid,
		Image:     t.Image,
		Command:   []string{"bash", "-c", seidStartScript},
		Env:       append(seidEnv(o, t), corev1.EnvVar{Name: EnvSidecarPort, Value: portText(t.SidecarPort)}),
		Ports:     ports,
		Resources: resources(t.SeidResources),
		// The threshold is endless: a parked seid has no port, and opening a large database takes as long as it takes.
		StartupProbe: probe(tcp(PortRPC), 1, 5, math.MaxInt32),
		// It starts a process in the container each time, so not every second: kubelet asks at once when seid has started.
		ReadinessProbe: probe(corev1.ProbeHandler{
			Exec: &corev1.ExecAction{Command: []string{"bash", "-c", seidReadyScript}},
		}, 3, 5, 2),
		SecurityContext: containerSecurity(false),
		VolumeMounts:    []corev1.VolumeMount{dataMount()},
	}
}

func seidEnv(o Owner, t v1alpha1.NodeTemplate) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "HOME", Value: Home},
		{Name: "SEI_CHAIN_ID", Value: t.ChainID},
		{Name: "SEI_NODE_NAME", Value: o.Name},
	}
}

// sidecar renders sei-sidecar. With TLS on it listens on loopback only, where kubelet cannot probe it: the probes move to
// the proxy.
func sidecar(o Owner, t v1alpha1.NodeTemplate) corev1.Container {
	c := corev1.Container{
		Name:          ContainerSidecar,
		Image:         t.SidecarImage,
		RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
		Env: []corev1.EnvVar{
			{Name: "SEI_SIDECAR_HOME", Value: Home},
			{Name: EnvSidecarPort, Value: portText(t.SidecarPort)},
			{Name: "SEI_CHAIN_ID", Value: t.ChainID},
			{Name: "SEI_NODE_NAME", Value: o.Name},
			{Name: "SEI_NODE_MODE", Value: t.Mode},
		},
		Resources:       resources(t.SidecarResources),
		SecurityContext: containerSecurity(true),
		VolumeMounts:    []corev1.VolumeMount{dataMount(), {Name: VolumeTmp, MountPath: "/tmp"}},
	}
	if t.TLS != nil {
		c.Env = append(c.Env, corev1.EnvVar{Name: EnvAuthnMode, Value: AuthnModeTrustedHeader})
		return c
	}
	c.Ports = []corev1.ContainerPort{containerPort(PortNameSidecar, t.SidecarPort)}
	c.LivenessProbe = probe(http(corev1.URISchemeHTTP, "/v0/livez", t.SidecarPort), 10, 5, 6)
	c.ReadinessProbe = probe(http(corev1.URISchemeHTTP, "/v0/healthz", t.SidecarPort), 1, 3, 3)
	return c
}

// proxy renders kube-rbac-proxy.
func proxy(t v1alpha1.NodeTemplate) corev1.Container {
	return corev1.Container{
		Name:          ContainerProxy,
		Image:         t.TLS.ProxyImage,
		RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
		Args: []string{
			fmt.Sprintf("--secure-listen-address=0.0.0.0:%d", PortProxy),
			fmt.Sprintf("--upstream=http://127.0.0.1:%d/", t.SidecarPort),
			"--config-file=" + proxyConfigDir + "/" + ProxyConfigKey,
			"--tls-cert-file=" + tlsDir + "/" + corev1.TLSCertKey,
			"--tls-private-key-file=" + tlsDir + "/" + corev1.TLSPrivateKeyKey,
			// The paths that the sidecar itself asks nobody's name for: probes have none.
			"--ignore-paths=/v0/healthz,/v0/startupz,/v0/livez,/v0/metrics",
			// Without the headers the sidecar answers 401 to everybody.
			"--auth-header-fields-enabled=true",
			"--auth-token-audiences=" + TokenAudience,
		},
		Ports: []corev1.ContainerPort{containerPort(PortNameProxy, PortProxy)},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("32Mi"),
		}},
		StartupProbe:    probe(tcp(PortProxy), 1, 3, 60),
		LivenessProbe:   probe(http(corev1.URISchemeHTTPS, "/v0/livez", PortProxy), 10, 5, 6),
		ReadinessProbe:  probe(http(corev1.URISchemeHTTPS, "/v0/healthz", PortProxy), 1, 3, 3),
		SecurityContext: containerSecurity(true),
		VolumeMounts: []corev1.VolumeMount{
			{Name: VolumeProxyConfig, MountPath: proxyConfigDir, ReadOnly: true},
			{Name: VolumeTLS, MountPath: tlsDir, ReadOnly: true},
		},
	}
}

func volumes(t v1alpha1.NodeTemplate) []corev1.Volume {
	out := []corev1.Volume{
		{Name: VolumeData, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: t.ClaimName},
		}},
		{Name: VolumeTmp, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	if t.TLS == nil {
		return out
	}
	// Readable by the group only, which fsGroup makes ours.
	mode := new(int32(0o440))
	return append(out,
		corev1.Volume{Name: VolumeProxyConfig, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: t.TLS.ConfigMapName},
				DefaultMode:          mode,
			},
		}},
		corev1.Volume{Name: VolumeTLS, VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{
				SecretName:  t.TLS.SecretName,
				DefaultMode: mode,
				Items: []corev1.KeyToPath{
					{Key: corev1.TLSCertKey, Path: corev1.TLSCertKey},
					{Key: corev1.TLSPrivateKeyKey, Path: corev1.TLSPrivateKeyKey},
				},
			},
		}},
	)
}

func podSecurity() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot: new(true),
		RunAsUser:    new(userID),
		RunAsGroup:   new(userID),
		FSGroup:      new(userID),
		// Walking a whole archive at every start would take minutes.
		FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
		SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func containerSecurity(readOnlyRoot bool) *corev1.SecurityContext {
	s := &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if readOnlyRoot {
		s.ReadOnlyRootFilesystem = new(true)
	}
	return s
}

func dataMount() corev1.VolumeMount { return corev1.VolumeMount{Name: VolumeData, MountPath: Home} }

func resources(r *corev1.ResourceRequirements) corev1.ResourceRequirements {
	if r == nil {
		return corev1.ResourceRequirements{}
	}
	return *r.DeepCopy()
}

func containerPort(name string, port int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: port, Protocol: corev1.ProtocolTCP}
}

func portText(port int32) string { return strconv.Itoa(int(port)) }

func probe(h corev1.ProbeHandler, period, timeout, failures int32) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: h, PeriodSeconds: period, TimeoutSeconds: timeout, FailureThreshold: failures}
}

func tcp(port int32) corev1.ProbeHandler {
	return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}}
}

func http(scheme corev1.URIScheme, path string, port int32) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Scheme: scheme, Path: path, Port: intstr.FromInt32(port)}}
}
