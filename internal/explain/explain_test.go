package explain

import (
	"errors"
	"fmt"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

const wait = v1alpha1.TaskWaitForSidecarTLSSecret

// causes has one row for each thing that goes wrong with a node.
var causes = []struct {
	name  string
	scene func() *scene
	code  Code
	// object and says are parts of what is said, and next of the first command.
	object, says, next string
}{
	{"issuer missing", func() *scene {
		s := settled().wants(issuer, wait, "").requested(approved(), pending(`Referenced "ClusterIssuer" not found: clusterissuer.cert-manager.io "arctic-1-ca" not found`))
		s.Issuer = &Issuer{Kind: "ClusterIssuer", Name: "arctic-1-ca", Presence: Absent, Others: []string{"ClusterIssuer/pacific-1-ca", "Issuer/own-ca"}}
		return s
	}, CodeIssuerMissing, "ClusterIssuer arctic-1-ca", "there is no such ClusterIssuer", "seictl node apply ax-0 -n fleet --tls --issuer pacific-1-ca"},
	{"wrong kind", func() *scene {
		s := settled().wants(&v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca", IssuerKind: "Issuer"}, wait, "").requested(approved(), pending("not found"))
		s.Issuer.Presence, s.Issuer.Twin = Absent, true
		return s
	}, CodeIssuerWrongKind, "Issuer fleet/arctic-1-ca", "there is a ClusterIssuer of that name", "seictl node apply ax-0 -n fleet --tls --issuer arctic-1-ca"},
	{"not Ready", func() *scene {
		s := settled().wants(issuer, wait, "").requested(approved(), pending("Referenced issuer does not have a Ready status condition"))
		s.Issuer.Ready, s.Issuer.Reason, s.Issuer.Message, s.Issuer.Since = false, "ErrInitIssuer", "no such host", &begun
		return s
	}, CodeIssuerNotReady, "ClusterIssuer arctic-1-ca", "it is not Ready: ErrInitIssuer: no such host", "kubectl describe clusterissuer arctic-1-ca"},
	{"CA Secret missing", func() *scene {
		s := settled().wants(issuer, wait, "").requested(approved(), pending("Referenced issuer does not have a Ready status condition"))
		s.Issuer.Ready, s.Issuer.Reason, s.Issuer.Message = false, "ErrGetKeyPair", `secret "ca" not found`
		s.Issuer.CASecret, s.Issuer.CASecretPresence = "cert-manager/ca", Absent
		return s
	}, CodeCASecretMissing, "Secret cert-manager/ca", "it does not exist, so that ClusterIssuer arctic-1-ca cannot sign", "kubectl create secret tls ca -n cert-manager --cert=ca.crt --key=ca.key"},
	{"request denied", func() *scene {
		return settled().wants(issuer, wait, "").requested(condition(cmv1.CertificateRequestConditionDenied, cmmeta.ConditionTrue, "policy", "not these names"))
	}, CodeRequestDenied, "CertificateRequest fleet/ax-0-sidecar-tls-1", "it was denied: policy: not these names", "seictl node retry ax-0 -n fleet"},
	{"request refused as invalid", func() *scene {
		return settled().wants(issuer, wait, "").requested(condition(cmv1.CertificateRequestConditionInvalidRequest, cmmeta.ConditionTrue, "bad", "CSR"))
	}, CodeRequestFailed, "CertificateRequest", "it was refused as invalid: bad: CSR", "seictl node retry"},
	{"approver idle", func() *scene { return settled().wants(issuer, wait, "").requested() },
		CodeApproverIdle, "CertificateRequest fleet/ax-0-sidecar-tls-1", "neither approved nor denied", "cmctl approve ax-0-sidecar-tls-1 -n fleet"},
	{"cert-manager missing", func() *scene {
		s := settled().wants(issuer, wait, "")
		s.NoCertManager = true
		return s
	}, CodeCertManagerMissing, "Certificate fleet/ax-0-sidecar-tls", "cert-manager is not installed", "seictl check"},
	{"Secret SANs wrong", func() *scene {
		s := settled()
		s.Node.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: given}
		s.Verdict = &certs.Verdict{Reason: v1alpha1.ReasonTLSSecretSANsMismatch, Message: "it lacks ax-0.fleet.svc.cluster.local"}
		s.Snapshot.TargetVerdict = s.Verdict
		return s
	}, CodeSecretSANsMismatch, "Secret fleet/given-tls", "it lacks ax-0.fleet.svc.cluster.local", "kubectl get seinode ax-0 -n fleet"},
	{"Secret missing", func() *scene {
		s := settled()
		s.Node.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: given}
		s.Node.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *given}
		s.Verdict = &certs.Verdict{Reason: v1alpha1.ReasonTLSSecretNotFound, Message: "it does not exist"}
		return s
	}, CodeSecretNotFound, "Secret fleet/given-tls", "it does not exist", "kubectl"},
	{"image unpullable", func() *scene {
		s := settled().at(v1alpha1.TaskObserveImage, "").unready().
			container(resources.ContainerSeid, waiting("ImagePullBackOff", `Back-off pulling image "seid:none": ErrImagePull: connection refused`))
		s.Snapshot.Pod.Spec.Containers[0].Image = "seid:none"
		return s
	}, CodeImageUnpullable, "Pod fleet/ax-0-0", "image seid:none of container seid cannot be pulled: connection refused", "kubectl describe pod ax-0-0 -n fleet"},
	{"unschedulable", func() *scene {
		s := settled().at(v1alpha1.TaskReplacePod, "").unready()
		s.Snapshot.Pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes"}}
		return s
	}, CodePodUnschedulable, "Pod fleet/ax-0-0", "it cannot be scheduled: 0/1 nodes", "kubectl describe pod"},
	{"pod stuck Terminating", func() *scene {
		s := settled().at(v1alpha1.TaskReplacePod, "")
		s.Snapshot.Pod.DeletionTimestamp = at(begun)
		return s
	}, CodePodTerminating, "Pod fleet/ax-0-0", "it is Terminating while seid closes its databases", "kubectl describe pod"},
	{"volume cannot be mounted", func() *scene {
		s := settled().unready()
		s.Mount = `MountVolume.SetUp failed: secret "x" not found`
		return s
	}, CodeMountFailed, "Pod fleet/ax-0-0", `secret "x" not found`, "kubectl describe pod"},
	{"proxy crash loop", func() *scene {
		return settled().wants(given, v1alpha1.TaskObserveSidecarTLS, "").proxied().answers(Wire{}).crashes(resources.ContainerProxy)
	}, CodeProxyCrashLoop, "container kube-rbac-proxy", "keeps failing: exit code 1 (Error), restarts: 3", "kubectl logs ax-0-0 -n fleet -c kube-rbac-proxy --previous"},
	{"403 at the proxy", func() *scene {
		return settled().wants(given, v1alpha1.TaskObserveSidecarTLS, "").proxied().answers(Wire{Health: 503, Status: 403})
	}, CodeProxyForbidden, "container kube-rbac-proxy", "answered 403", "kubectl auth can-i get seinodetasks.sei.io/ax-0 -n fleet --as system:serviceaccount:sei-system:seictl-client"},
	{"401 at the proxy", func() *scene {
		return settled().wants(given, v1alpha1.TaskObserveSidecarTLS, "").proxied().answers(Wire{Health: 503, Status: 401})
	}, CodeProxyUnauthorized, "container kube-rbac-proxy", "answered 401", "seictl install base --apply --node-namespace fleet"},
	{"no TLS at the proxy", func() *scene {
		return settled().wants(given, v1alpha1.TaskObserveSidecarTLS, "").proxied().answers(Wire{Err: fmt.Errorf("x: %w", sidecar.ErrNotTLS)})
	}, CodeProxyNotTLS, "container kube-rbac-proxy", "port 8443 does not speak TLS", "kubectl logs"},
	{"another leaf", func() *scene {
		return settled().wants(given, v1alpha1.TaskObserveSidecarTLS, "").proxied().answers(Wire{Err: &sidecar.LeafMismatchError{Served: "aa", Wanted: "bb"}})
	}, CodeProxyOtherLeaf, "container kube-rbac-proxy", "it serves certificate aa, the Secret holds bb", "seictl node verify ax-0 -n fleet"},
	{"handshake hangs", func() *scene {
		return settled().wants(given, v1alpha1.TaskObserveSidecarTLS, "").proxied().answers(Wire{Err: errors.New("i/o timeout")})
	}, CodeProxyUnreachable, "container kube-rbac-proxy", "the TLS handshake fails: i/o timeout", "kubectl logs"},
	{"sidecar 503", func() *scene {
		return settled().wants(given, v1alpha1.TaskMarkReady, "").proxied()
	}, CodeSidecarNotReady, "container sei-sidecar", "it answers 503", "seictl node apply ax-0 -n fleet"},
	{"sidecar 503 without a plan", func() *scene { return settled().unready().answers(Wire{Health: 503}) },
		CodeSidecarNotReady, "container sei-sidecar", "it answers 503", "seictl node apply ax-0 -n fleet"},
	{"sidecar unreachable", func() *scene { return settled().unready().answers(Wire{Err: errors.New("connection refused")}) },
		CodeSidecarUnreachable, "container sei-sidecar", "it does not answer: connection refused", "kubectl logs ax-0-0 -n fleet -c sei-sidecar"},
	{"seid not caught up", func() *scene {
		s := settled().at(v1alpha1.TaskMarkReady, "").unready()
		s.RPC = RPC{Asked: true, CatchingUp: true, Height: "1234"}
		return s
	}, CodeSeidCatchingUp, "container seid", "it has not caught up with its chain: RPC says catching_up, at height 1234", "kubectl logs ax-0-0 -n fleet -c seid -f"},
	{"seid crash loop", func() *scene { return settled().unready().crashes(resources.ContainerSeid) },
		CodeSeidCrashLoop, "container seid", "keeps failing", "kubectl logs"},
	{"budget", func() *scene {
		s := settled().at(v1alpha1.TaskApplyStatefulSet, "waits for fleet/ax-1: the budget of chain arctic-1 is 1, place 1 in the queue")
		s.Node.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionNodeUpdateInProgress, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonUpdateQueued, LastTransitionTime: *at(begun)}}
		return s
	}, CodeBudgetWait, "chain arctic-1", "waits for fleet/ax-1: the budget of chain arctic-1 is 1", "seictl node status -A --chain arctic-1"},
	{"lock", func() *scene {
		s := settled()
		s.Node.Spec.Image = "seid:v2"
		s.Driver = Driver{Known: true, Holder: "alice@laptop (pid 7)", Since: &begun}
		return s
	}, CodeLockWait, "Lease sei-system/seictl-engine", "alice@laptop (pid 7) drives other nodes", "seictl node apply ax-0 -n fleet --lock-timeout 10m"},
	{"nobody drives", func() *scene {
		s := settled()
		s.Node.Spec.Image, s.Driver = "seid:v2", Driver{Known: true}
		return s
	}, CodeNoDriver, "SeiNode fleet/ax-0", "the change is not begun, and nobody drives", "seictl node apply ax-0 -n fleet"},
	{"held after rollback", func() *scene {
		s := settled()
		s.Node.Spec.Image = "seid:v2"
		s.Node.Status.Hold = &v1alpha1.Hold{Target: v1alpha1.PlanTarget{Image: "seid:v2"}, PlanID: "id", Since: *at(begun),
			Reason: "observe-image: container seid cannot pull image seid:v2"}
		s.Node.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionNodeUpdateInProgress, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRolledBack}}
		return s
	}, CodeHeld, "SeiNode fleet/ax-0", "was rolled back, and is not tried again until the spec changes or a retry is asked for: observe-image: container seid cannot pull image seid:v2",
		"seictl node retry ax-0 -n fleet"},
	{"paused", func() *scene {
		s := settled()
		s.Node.Spec.Image, s.Node.Spec.Paused = "seid:v2", true
		return s
	}, CodePaused, "SeiNode fleet/ax-0", "spec.paused is true", "kubectl patch seinode ax-0 -n fleet"},
	{"failed and tried again", func() *scene {
		s := settled()
		s.Node.Spec.Image = "seid:v2"
		s.Node.Status.Plan = &v1alpha1.Plan{ID: "id", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanFailed, Target: v1alpha1.PlanTarget{Image: "seid:v2"},
			Attempt: 1, FailedTaskDetail: "apply-statefulset: no", RetryAt: micro(later), FinishedAt: micro(begun)}
		return s
	}, CodeRetryWait, "SeiNode fleet/ax-0", "attempt 1 failed: apply-statefulset: no; the next one starts at 2026-03-01T12:03:00Z", "seictl node retry ax-0 -n fleet"},
	{"a task in its own words", func() *scene { return settled().at(v1alpha1.TaskApplyStatefulSet, "something else") },
		CodeTaskWait, "task apply-statefulset", "something else", "seictl node status ax-0 -n fleet -w"},
	{"being deleted", func() *scene { s := settled(); s.Node.DeletionTimestamp = at(begun); return s },
		CodeTerminating, "SeiNode fleet/ax-0", "the node is being deleted", ""},
	{"another controller", func() *scene { s := settled(); s.Snapshot.ForeignController = "seinode-controller"; return s },
		CodeForeignController, "SeiNode fleet/ax-0", "seinode-controller writes this node as well", "kubectl get seinode"},
}

func TestCauses(t *testing.T) {
	for _, c := range causes {
		t.Run(c.name, func(t *testing.T) {
			e := c.scene().explain()
			require.NotNil(t, e.Cause, "%+v", e.Links)
			require.Equal(t, c.code, e.Cause.Code, e.Cause.Message)
			require.Contains(t, e.Cause.Object, c.object)
			require.Contains(t, e.Cause.Message, c.says)
			if c.next == "" {
				require.Empty(t, e.Next)
				return
			}
			require.Contains(t, e.Next[0], c.next)
		})
	}
}

func TestEveryCauseHasATime(t *testing.T) {
	e := settled().wants(issuer, wait, "").requested(approved(), pending("x")).explain()
	require.Equal(t, CodeCertificateNotReady, e.Cause.Code)
	require.Equal(t, begun, e.Cause.Since.UTC())
	require.Equal(t, later, e.Cause.GivesUpAt.UTC())
}

// The retry of a failed plan is when what stopped it is tried again.
func TestRetryOfAFailedPlan(t *testing.T) {
	s := settled().wants(issuer, wait, "").requested(approved(), pending("not found"))
	s.Issuer.Presence = Absent
	p := s.Node.Status.Plan
	p.Phase, p.RetryAt, p.Attempt = v1alpha1.PlanFailed, micro(later), 1
	e := s.explain()
	require.Equal(t, CodeIssuerMissing, e.Cause.Code)
	require.Equal(t, later, e.Cause.RetryAt.UTC())
}

func TestAllIsWell(t *testing.T) {
	e := settled().explain()
	require.Nil(t, e.Cause)
	require.Empty(t, e.Next)
	require.Equal(t, "image seid:v1, TLS off; pod ax-0-0 is Ready", e.Runs)
	require.Equal(t, "image seid:v1, TLS off", e.Wants)
	for _, l := range e.Links {
		require.Equal(t, OK, l.State, l)
	}
}

// A certificate that is there serves on while its renewal hangs.
func TestRenewalThatHangsDecidesNothing(t *testing.T) {
	s := settled().wants(issuer, wait, "").requested(approved(), pending("not found"))
	s.Issuer.Presence = Absent
	s.Node.Status.Plan = nil
	s.Node.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *issuer}
	s.Verdict = &certs.Verdict{Ready: true}
	e := s.explain()
	require.Nil(t, e.Cause)
	require.Equal(t, Broken, e.Links[2].State, "but it shows")
}

func TestUnreadIsUnknown(t *testing.T) {
	s := settled().wants(issuer, wait, "").requested(approved(), pending("x"))
	s.Issuer = &Issuer{Kind: "ClusterIssuer", Name: "arctic-1-ca", Detail: "it may not be looked at", CASecret: "cert-manager/ca"}
	s.Verdict = &certs.Verdict{Unknown: true, Reason: v1alpha1.ReasonTLSSecretUnavailable, Message: "forbidden"}
	states := map[string]State{}
	e := s.explain()
	for _, l := range e.Links {
		states[l.Object] = l.State
	}
	require.Equal(t, Unknown, states["ClusterIssuer arctic-1-ca"])
	require.Equal(t, Unknown, states["Secret cert-manager/ca (the CA's)"])
	require.Equal(t, Unknown, states["Secret fleet/ax-0-sidecar-tls"])
	require.Equal(t, CodeCertificateNotReady, e.Cause.Code, "what can be read decides")
}

// A sidecar that was restarted waits for mark-ready, whoever holds the lock for something else.
func TestLockIsNoCauseOfAParkedSidecar(t *testing.T) {
	s := settled().unready().answers(Wire{Health: 503})
	s.Driver = Driver{Known: true, Holder: "alice@laptop (pid 7)"}
	s.Decision = plan.Decision{New: true, Plan: &v1alpha1.Plan{Kind: v1alpha1.MarkReady}}
	require.Equal(t, CodeSidecarNotReady, Explain(&s.Facts).Cause.Code)
}

func TestMessagesDoNotRepeatTheObject(t *testing.T) {
	require.Equal(t, "it is Ready", ofIt("Secret a/b", "Secret a/b is Ready"))
	require.Equal(t, "no names", ofIt("Secret a/b", "Secret a/b: no names"))
	require.Equal(t, "Secret a/bc is Ready", ofIt("Secret a/b", "Secret a/bc is Ready"))
}

func TestRuleOrder(t *testing.T) {
	var names []string
	for _, r := range rules {
		names = append(names, r.name)
	}
	require.Equal(t, []string{"terminating", "foreignController", "held", "paused", "budget", "issuance", "secret", "lock", "pod", "proxy",
		"sidecar", "seid", "blocked", "backoff", "driver", "task"}, names)
}

func TestNotes(t *testing.T) {
	s := settled()
	s.Node.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *given}
	e := s.explain()
	require.Len(t, e.Notes, 1)
	require.Contains(t, e.Notes[0], "the node keeps TLS")
	require.Contains(t, e.Wants, "kept: its removal was not consented to")
}
