package crdcases

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
)

const (
	planID      = "6f1f0f6e-7a55-4c8e-9c1c-0d6a8f6a2a10"
	fingerprint = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	image       = "lab.invalid/seid:v1"
)

// FullNode is a node whose status has every field, and a plan with the params of every task: the schema must know them all.
func FullNode() *v1alpha1.SeiNode {
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return &v1alpha1.SeiNode{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: Node},
		ObjectMeta: metav1.ObjectMeta{Name: "ax-0"},
		Spec: v1alpha1.SeiNodeSpec{
			ChainID: "arctic-1", Image: image, FullNode: &v1alpha1.FullNodeSpec{},
			Sidecar: &v1alpha1.SidecarConfig{TLS: issuer()},
		},
		Status: v1alpha1.SeiNodeStatus{
			ObservedGeneration: 3,
			Phase:              v1alpha1.PhaseRunning,
			CurrentImage:       image,
			CurrentSidecarTLS:  observed(at),
			SidecarTLS:         &v1alpha1.SidecarTLSContract{SecretName: "ax-0-sidecar-tls", RequiredDNSNames: dnsNames()},
			AppliedConfigHash:  fingerprint,
			FirstReadyAt:       &at,
			Plan:               fullPlan(at),
			LastPlan:           fullSummary(at),
			Hold: &v1alpha1.Hold{
				Target: target(), SecretSHA256: fingerprint, RetrySeen: "1", PlanID: planID, Reason: "rolled back", Since: at,
			},
			Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, LastTransitionTime: at},
				{Type: v1alpha1.ConditionSidecarTLSSecretReady, Status: metav1.ConditionUnknown,
					Reason: v1alpha1.ReasonTLSSecretUnavailable, Message: "forbidden", ObservedGeneration: 3, LastTransitionTime: at},
			},
		},
	}
}

func issuer() *v1alpha1.SidecarTLSConfig {
	return &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca", IssuerKind: v1alpha1.IssuerKindClusterIssuer}
}

func target() v1alpha1.PlanTarget { return v1alpha1.PlanTarget{Image: image, SidecarTLS: issuer()} }

func observed(at metav1.Time) *v1alpha1.ObservedSidecarTLS {
	return &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *issuer(), FingerprintSHA256: fingerprint, NotAfter: &at, ObservedAt: &at}
}

func dnsNames() []string {
	return []string{"ax-0.nodes.svc.cluster.local", "ax-0-0.ax-0.nodes.svc.cluster.local"}
}

func fullPlan(at metav1.Time) *v1alpha1.Plan {
	micro, failed := metav1.NewMicroTime(at.Time), int32(1)
	plan := &v1alpha1.Plan{
		ID: planID, Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanFailed,
		Causes: []v1alpha1.PlanCause{v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift, v1alpha1.ObjectDrift},
		Target: target(),
		Previous: v1alpha1.PlanPrevious{
			Image: image, SidecarTLS: observed(at), ControllerRevision: "ax-0-7c9d", Ready: true,
		},
		StartedAt: micro, FinishedAt: &micro, FailedTaskIndex: &failed, FailedTaskDetail: "not issued",
		TargetPhase: v1alpha1.PhaseRunning, FailedPhase: v1alpha1.PhaseRunning,
		Attempt: 2, RetryAt: &micro, RetrySeen: "1",
		RollsBack: &v1alpha1.RollbackCause{PlanID: planID, Target: target(), Reason: "the proxy never came up"},
	}
	for _, t := range fullTasks() {
		t.ID, t.Status, t.Why = planID, v1alpha1.TaskFailed, "because"
		t.Output = &v1alpha1.TaskOutput{Generation: 2, PodUID: planID, Accepted: true, FingerprintSHA256: fingerprint, NotAfter: &at}
		t.Attempts, t.StartedAt, t.FinishedAt, t.Deadline = 3, &micro, &micro, &micro
		t.Message, t.Error = "waiting", "getting certificate: timeout"
		plan.Tasks = append(plan.Tasks, t)
	}
	return plan
}

func fullTasks() []v1alpha1.Task {
	resources := &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
	secret := &v1alpha1.TLSSecretParams{TLS: *issuer(), SecretName: "ax-0-sidecar-tls", DNSNames: dnsNames(), AnySoundPair: true}
	cert := &v1alpha1.SidecarCertParams{
		Name: "ax-0-sidecar-tls", ChainID: "arctic-1", IssuerName: "arctic-1-ca", IssuerKind: v1alpha1.IssuerKindClusterIssuer,
		DNSNames: dnsNames(), KeyAlgorithm: "ECDSA", KeySize: 256,
	}
	proxyConfig := &v1alpha1.RBACProxyConfigParams{Name: "ax-0-rbac-proxy-config", ChainID: "arctic-1"}
	template := &v1alpha1.NodeTemplate{
		ChainID: "arctic-1", Mode: v1alpha1.ModeFullNode, Image: image, SidecarImage: "lab.invalid/sei-sidecar:v1", SidecarPort: 7777,
		SidecarResources: resources, SeidResources: resources,
		TLS: &v1alpha1.NodeTemplateTLS{
			SecretName: "ax-0-sidecar-tls", ConfigMapName: "ax-0-rbac-proxy-config", ConfigHash: fingerprint,
			ProxyImage: "lab.invalid/kube-rbac-proxy:v0.21.0",
		},
		PodLabels: map[string]string{"team": "chain"}, ClaimName: "data-ax-0", ServiceAccountName: "seid-node",
		TerminationGracePeriodSeconds: 300,
	}
	peers := []v1alpha1.PeerSource{
		{Static: &v1alpha1.StaticPeers{Addresses: []string{"0123@ax-1:26656"}}},
		{Label: &v1alpha1.LabelPeers{Selector: map[string]string{"a": "b"}, Namespace: "other"}},
	}
	type params = v1alpha1.TaskParams
	return []v1alpha1.Task{
		{Type: v1alpha1.TaskEnsureDataPVC, Params: params{EnsureDataPVC: &v1alpha1.DataPVCParams{
			ClaimName: "data-ax-0", ChainID: "arctic-1", Imported: true, Size: "500Gi", StorageClassName: "ssd"}}},
		{Type: v1alpha1.TaskApplySidecarCert, Params: params{SidecarCert: cert}},
		{Type: v1alpha1.TaskWaitForSidecarTLSSecret, Params: params{TLSSecret: secret}},
		{Type: v1alpha1.TaskApplyRBACProxyConfig, Params: params{RBACProxyConfig: proxyConfig}},
		{Type: v1alpha1.TaskApplyStatefulSet, Params: params{StatefulSet: &v1alpha1.StatefulSetParams{
			FromRevision: "ax-0-7c9d", Template: template}}},
		{Type: v1alpha1.TaskApplyService, Params: params{Service: &v1alpha1.ServiceParams{
			ChainID: "arctic-1", SidecarPort: 7777, TLS: true}}},
		{Type: v1alpha1.TaskReplacePod, Params: params{ReplacePod: &v1alpha1.ReplacePodParams{TLSSecret: secret}}},
		{Type: v1alpha1.TaskObserveImage, Params: params{ObserveImage: &v1alpha1.ObserveImageParams{Image: image}}},
		{Type: v1alpha1.TaskObserveSidecarTLS, Params: params{ObserveSidecarTLS: &v1alpha1.ObserveSidecarTLSParams{TLSSecret: secret}}},
		{Type: v1alpha1.TaskConfigApply, Params: params{ConfigApply: &v1alpha1.ConfigApplyParams{
			Overrides: map[string]string{"p2p.max_num_inbound_peers": "40"}, Peers: peers, Hash: fingerprint}}},
		{Type: v1alpha1.TaskConfigValidate},
		{Type: v1alpha1.TaskMarkReady, Params: params{MarkReady: &v1alpha1.MarkReadyParams{AwaitPodReady: true}}},
		{Type: v1alpha1.TaskDeleteRBACProxyConfig, Params: params{RBACProxyConfig: proxyConfig}},
		{Type: v1alpha1.TaskDeleteSidecarCert, Params: params{SidecarCert: &v1alpha1.SidecarCertParams{Name: "ax-0-sidecar-tls"}}},
	}
}

func fullSummary(at metav1.Time) *v1alpha1.PlanSummary {
	micro, took := metav1.NewMicroTime(at.Time), &metav1.Duration{Duration: 1500 * time.Millisecond}
	return &v1alpha1.PlanSummary{
		ID: planID, Kind: v1alpha1.NodeRollback, Causes: []v1alpha1.PlanCause{v1alpha1.ImageDrift}, Outcome: v1alpha1.PlanSuperseded,
		Target: target(), StartedAt: micro, FinishedAt: micro, PodCycle: took,
		Tasks:      []v1alpha1.TaskSummary{{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskSkipped, Duration: took}},
		FailedTask: v1alpha1.TaskReplacePod, Detail: "superseded",
	}
}
