package preflight

import (
	"errors"
	"fmt"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/settings"
)

// wellCluster has one node with TLS, and everything that it needs.
func wellCluster() *ClusterFacts {
	n := wellFacts()
	node := testNode()
	node.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *node.SidecarTLS()}
	return &ClusterFacts{
		Now:     now,
		Version: found(&version.Info{Major: "1", Minor: "36", GitVersion: "v1.36.3"}),
		StorageClasses: found([]storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{
			Name: "ssd", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}}}),
		CertManager: n.CertManager, Issuers: []ChainIssuer{{Chain: "arctic-1", IssuerFacts: n.Issuer}},
		Schemas:    found(Schemas{Served: map[string]bool{"SeiNode": true, "SeiNodeDeployment": true}, Unknown: map[string][]string{}}),
		Settings:   n.Settings,
		Namespaces: []NamespaceFacts{{Name: "fleet", ServiceAccount: found(true), Reviews: n.Reviews, ClientAccess: n.ClientAccess}},
		Client:     found(true), Me: n.Me, Operator: n.Operator,
		Nodes:    found([]v1alpha1.SeiNode{*node}),
		Verdicts: map[string]certs.Verdict{"fleet/ax-0": {Ready: true}},
		Pods:     found([]corev1.Pod{*parkedPod(false)}),
		Monitoring: Monitoring{Served: found(map[string]bool{"PrometheusRule": true, "PodMonitor": true}),
			Objects:     map[string]Read[bool]{"PrometheusRule": found(true), "PodMonitor": found(true)},
			Certificate: found(metricsCert(cmmeta.ConditionTrue))},
	}
}

// metricsCert is the Certificate of the operator's metrics.
func metricsCert(ready cmmeta.ConditionStatus) *cmv1.Certificate {
	return &cmv1.Certificate{Status: cmv1.CertificateStatus{Conditions: []cmv1.CertificateCondition{
		{Type: cmv1.CertificateConditionReady, Status: ready}}}}
}

// parkedPod is the pod of the node, up for a minute; parked while its sidecar holds seid back.
func parkedPod(parked bool) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0-0", Labels: map[string]string{v1alpha1.LabelNode: "ax-0"}},
		Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: "kube-rbac-proxy", Ready: !parked, Image: "proxy:v1",
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-time.Minute))}}}}},
	}
}

func condition(n *v1alpha1.SeiNode, kind string, status metav1.ConditionStatus, reason, message string) {
	n.Status.Conditions = append(n.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
}

func TestAWellClusterIsGreen(t *testing.T) {
	for _, l := range CheckCluster(wellCluster()) {
		require.Equal(t, OK, l.Result, "%s: %s", l.Check, l.Message)
		require.NotEmpty(t, l.Category)
	}
}

func TestClusterChecks(t *testing.T) {
	node := func(f *ClusterFacts) *v1alpha1.SeiNode { return &f.Nodes.Value[0] }
	for name, c := range map[string]struct {
		spoil   func(f *ClusterFacts)
		check   string
		result  Result
		message string
		hint    string
	}{
		"API server away":  {func(f *ClusterFacts) { f.Version = Read[*version.Info]{State: Broken, Err: errors.New("refused")} }, "api-server", Failed, "refused", "kubectl version"},
		"old Kubernetes":   {func(f *ClusterFacts) { f.Version.Value.Minor = "27+" }, "api-server", Failed, "too old", "kubectl version"},
		"no default class": {func(f *ClusterFacts) { f.StorageClasses.Value = nil }, "storage-class", Warning, "no default", "kubectl get storageclass"},
		"class missing":    {func(f *ClusterFacts) { f.Settings.Value.Storage.ClassName = "nvme" }, "storage-class", Failed, "nvme", "kubectl edit configmap"},
		"issuer not ready": {func(f *ClusterFacts) { f.Issuers[0].Named.Value.Ready = "False" }, "issuer", Failed, "chain arctic-1: ClusterIssuer arctic-1-ca is not Ready", "kubectl describe"},
		"deployment CRD old": {func(f *ClusterFacts) {
			f.Schemas.Value.Unknown["SeiNodeDeployment"] = []string{"spec.template.spec.sidecar"}
		},
			"seinodedeployment-fields", Failed, "spec.template.spec.sidecar", "seictl install base --apply"},
		"settings broken": {func(f *ClusterFacts) {
			f.Settings = Read[settings.Settings]{State: Broken, Err: errors.New("proxyImage: bad")}
		}, "settings", Failed,
			"proxyImage: bad", "kubectl edit configmap"},
		"no ServiceAccount": {func(f *ClusterFacts) { f.Namespaces[0].ServiceAccount = absent(true) }, "node-service-account", Failed, "in namespace fleet",
			"seictl install base --apply --node-namespace fleet"},
		"no client":        {func(f *ClusterFacts) { f.Client = absent(true) }, "client-account", Failed, "not found", "seictl install base --apply"},
		"client shut out":  {func(f *ClusterFacts) { f.Namespaces[0].ClientAccess[0].Allowed = false }, "client-access", Failed, "403", "seictl install base --apply"},
		"no reviews":       {func(f *ClusterFacts) { f.Namespaces[0].Reviews[0].Allowed = false }, "node-token-review", Failed, "refuse everybody", "--node-namespace fleet"},
		"no operator":      {func(f *ClusterFacts) { f.Operator.Deployment = absent(Deployment{}) }, "operator", Warning, "mark-ready", "seictl install operator"},
		"retired proxy":    {func(f *ClusterFacts) { f.Settings.Value.ProxyImage = retiredProxy + ":v0.13.0" }, "images-set", Failed, "not published any more", "kubectl edit configmap"},
		"no proxy image":   {func(f *ClusterFacts) { f.Settings.Value.ProxyImage = "" }, "images-set", Failed, "no proxyImage", "kubectl edit configmap"},
		"no sidecar image": {func(f *ClusterFacts) { f.Settings.Value.SidecarImage = "" }, "images-set", Warning, "no sidecarImage", "kubectl edit configmap"},
		"image unpullable": {func(f *ClusterFacts) {
			f.Pods.Value[0].Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "seid", Image: "seid:v9",
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
		}, "images-pulled", Failed, "seid:v9: ImagePullBackOff", "seictl node apply ax-0 -n fleet --image IMAGE"},
		"held": {func(f *ClusterFacts) { node(f).Status.Hold = &v1alpha1.Hold{Reason: "the image cannot be pulled"} }, "nodes-updated", Failed,
			"fleet/ax-0: held since", "seictl node retry ax-0 -n fleet"},
		"failed": {func(f *ClusterFacts) { node(f).Status.Phase = v1alpha1.PhaseFailed }, "nodes-updated", Failed, "initialisation failed", "seictl node retry ax-0"},
		"plan failed": {func(f *ClusterFacts) {
			node(f).Status.Plan = &v1alpha1.Plan{Phase: v1alpha1.PlanFailed, FailedTaskDetail: "no issuer"}
		}, "nodes-updated", Failed, "no issuer", "seictl node retry"},
		"blocked": {func(f *ClusterFacts) {
			condition(node(f), v1alpha1.ConditionNodeUpdateInProgress, metav1.ConditionFalse, v1alpha1.ReasonUpdateBlocked, "Secret x")
		}, "nodes-updated", Failed, "blocked: Secret x", "seictl node status"},
		"Secret gone": {func(f *ClusterFacts) {
			node(f).Status.CurrentSidecarTLS.SidecarTLSConfig = v1alpha1.SidecarTLSConfig{SecretName: "own"}
			f.Verdicts["fleet/ax-0"] = certs.Verdict{Reason: v1alpha1.ReasonTLSSecretNotFound, Message: "gone"}
		}, "nodes-tls-secret", Failed, "TLSSecretNotFound: gone; the proxy serves what it loaded", "kubectl create secret tls own -n fleet --cert=tls.crt --key=tls.key"},
		"issued Secret expired": {func(f *ClusterFacts) {
			f.Verdicts["fleet/ax-0"] = certs.Verdict{Reason: v1alpha1.ReasonTLSSecretExpired}
		}, "nodes-tls-secret", Failed, "TLSSecretExpired", "kubectl delete secret ax-0-sidecar-tls -n fleet"},
		"Secret unreadable, condition tells": {func(f *ClusterFacts) {
			f.Verdicts["fleet/ax-0"] = certs.Verdict{Unknown: true}
			condition(node(f), v1alpha1.ConditionSidecarTLSSecretReady, metav1.ConditionFalse, v1alpha1.ReasonTLSSecretNotFound, "gone")
		}, "nodes-tls-secret", Failed, "gone", "kubectl describe certificate"},
		"parked": {func(f *ClusterFacts) { f.Pods.Value[0] = *parkedPod(true) }, "nodes-mark-ready", Failed, "mark-ready is due", "seictl node apply ax-0 -n fleet --yes"},
		"parked in a plan": {func(f *ClusterFacts) {
			f.Pods.Value[0], node(f).Status.Plan = *parkedPod(true), &v1alpha1.Plan{Phase: v1alpha1.PlanActive}
		}, "nodes-mark-ready", OK, "", ""},
		"no alerts": {func(f *ClusterFacts) { f.Monitoring.Objects["PrometheusRule"] = absent(true) }, "alerts", Warning, "nobody is paged", "seictl install monitoring --apply"},
		"metrics self-signed": {func(f *ClusterFacts) { f.Monitoring.Certificate = absent(metricsCert(cmmeta.ConditionTrue)) },
			"metrics-certificate", Warning, "self-signed", "seictl install operator"},
		"metrics not issued": {func(f *ClusterFacts) { f.Monitoring.Certificate = found(metricsCert(cmmeta.ConditionFalse)) },
			"metrics-certificate", Warning, "not Ready", "kubectl describe certificate seictl-operator-metrics -n sei-system"},
		"no metrics":    {func(f *ClusterFacts) { f.Operator.Deployment = absent(Deployment{}) }, "metrics-certificate", Skipped, "no operator", ""},
		"no prometheus": {func(f *ClusterFacts) { f.Monitoring.Served = absent(map[string]bool{}) }, "scraping", Skipped, "not installed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := wellCluster()
			c.spoil(f)
			lines := CheckCluster(f)
			require.GreaterOrEqual(t, len(lines), len(clusterChecks)-1, "nothing is hidden")
			l := lineNamed(t, lines, c.check)
			require.Equal(t, c.result, l.Result, l.Message)
			require.Contains(t, l.Message, c.message)
			require.Contains(t, l.Hint, c.hint)
		})
	}
}

func TestPreChecksOnlyWhatCanHoldBefore(t *testing.T) {
	f := wellCluster()
	f.Pre, f.Install = true, []Access{{Right: Right{Verb: "create", Resource: "namespaces"}}}
	var names []string
	for _, l := range CheckCluster(f) {
		names = append(names, l.Check)
	}
	require.Equal(t, []string{"api-server", "storage-class", "cert-manager-installed", "cert-manager-serving", "install-rights"}, names)
	l := lineNamed(t, CheckCluster(f), "install-rights")
	require.Equal(t, Failed, l.Result)
	require.Contains(t, l.Message, "create namespaces")
}

func TestManyBadNodesAreCutShort(t *testing.T) {
	f := wellCluster()
	f.Nodes.Value = nil
	for i := range mostNodes + 5 {
		n := testNode()
		n.Name, n.Status.Phase = fmt.Sprintf("ax-%d", i), v1alpha1.PhaseFailed
		f.Nodes.Value = append(f.Nodes.Value, *n)
	}
	lines := checkNodesUpdated(f)
	require.Len(t, lines, mostNodes+1)
	require.Contains(t, lines[mostNodes].Message, "5 more nodes")
}
