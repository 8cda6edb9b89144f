//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// runbook is a page that is followed: what provokes the cause of its alert, and what each of its blocks brings.
type runbook struct {
	alert string
	// noOperator is for the first ones: none is installed.
	noOperator bool
	provoke    func(s *S) *Node
	// blocks are those of the page, in order.
	blocks []followed
	// after requires that the cause is gone.
	after func(n *Node)
}

// followed is a block that is executed.
type followed struct {
	// before does what the page leaves to the reader, in the directory of the shell.
	before func(n *Node, dir string)
	code   int
	says   []string
	// fix says that the block changes something, as the page must say as well.
	fix bool
}

var runbooks = []runbook{
	{
		alert: "SeiNodePlanStuck", noOperator: true,
		provoke: func(s *S) *Node {
			n := s.running()
			n.applyKilledAt("before/observe-image", "--image", imageV2).exits(killed)
			return n
		},
		blocks: []followed{
			{says: []string{"apply-statefulset Complete", "observe-image", "mark-ready Pending"}},
			{says: []string{"cli/", "No resources found"}},
			{says: []string{"NAME READY STATUS", "ax-0-0 "}},
			{says: []string{"Done", imageV2}, fix: true},
		},
		after: func(n *Node) { require.Equal(n.s, imageV2, n.get().Status.CurrentImage) },
	},
	{
		alert: "SeictlOperatorAbsent", provoke: operatorBroken,
		blocks: []followed{
			{says: []string{"deployment.apps/seictl-operator 0/1", "pod/seictl-operator-"}},
			{says: []string{"seictl-operator", "forbidden"}},
			{},
			{says: []string{"NAMESPACE NAME READY", "ax-0-0 "}},
			{says: []string{"seictl-operator-metrics True"}},
			{says: []string{"mark-ready", "Done"}, fix: true},
			{says: []string{"successfully rolled out"}, fix: true, before: func(n *Node, _ string) {
				n.s.run("install", "operator", "--image", operatorImage, "--apply").exits(done).says("clusterrolebinding seictl-operator created")
			}},
		},
		after: func(n *Node) {
			n.requireServing()
			n.s.eventually("the operator leads", func() error { return n.s.operatorLeads("") })
		},
	},
	{
		alert: "SeiNodeSidecarTLSSecretNotReady",
		provoke: func(s *S) *Node {
			n := s.provisioned(90 * 24 * time.Hour)
			s.delete("ax-0-tls", &corev1.Secret{})
			n.eventually("the condition says so", secretReason(v1alpha1.ReasonTLSSecretNotFound))
			return n
		},
		blocks: []followed{
			{says: []string{"False TLSSecretNotFound: Secret", "does not exist: provision a kubernetes.io/tls Secret"}},
			{code: failed, says: []string{"not verified", "FAIL secret", "ok handshake", "ok authenticated"}},
			{says: []string{"Secret/ax-0-tls", `"requiredDNSNames"`}},
			{says: []string{"no certificate"}},
			{},
			{says: []string{"secret/ax-0-tls created"}, fix: true, before: func(n *Node, dir string) { n.pairIn(dir) }},
			{says: []string{"condition met"}, fix: true},
			{says: []string{`pod "ax-0-0" deleted`, "pod/ax-0-0 condition met", "verified", "ok equal"}, fix: true},
		},
		after: (*Node).requireServing,
	},
	{
		alert:   "SeiNodeSidecarTLSCertificateExpiring",
		provoke: func(s *S) *Node { return s.issuedFor(48 * time.Hour) },
		blocks: []followed{
			{says: []string{"NAMESPACE NODE EXPIRES SOURCE", "ax-0 " + inDays(2), "Secret/ax-0-tls"}},
			{says: []string{"verified", "ok equal"}},
			{says: []string{"CERTIFICATE READY EXPIRES RENEWAL FAILED", "ax-0-tls True " + inDays(2)}},
		},
	},
	{
		alert: "SeiNodeSidecarTLSServedCertificateStale",
		provoke: func(s *S) *Node {
			n := s.provisioned(90 * 24 * time.Hour)
			n.fault(proxy, "stale-leaf", nil)
			secret := s.authority().secretFor(n, "ax-0-tls")
			s.update(secret)
			return n
		},
		blocks: []followed{
			{code: failed, says: []string{"not verified", "ok secret", "FAIL equal"}},
			{says: []string{"kube-rbac-proxy 0 true"}},
			{},
		},
		after: func(n *Node) {
			n.heal(proxy)
			n.s.eventually("the proxy comes round by itself", func() error { return same(n.s.leaf("ax-0-tls"), n.served("ax-0-tls")) })
			n.s.run("node", "verify", n.name, "-n", n.s.ns).exits(done).says("ok equal")
		},
	},
	{
		alert: "SeiNodeUpdateFailed",
		provoke: func(s *S) *Node {
			n := s.started()
			s.revokeReviews()
			n.edit(func(o *v1alpha1.SeiNode) { o.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: byIssuer(issuerA)} })
			n.eventually("rolled back and held", func(o *v1alpha1.SeiNode) bool {
				return o.Status.Hold != nil && o.Status.LastPlan != nil && o.Status.LastPlan.Kind == v1alpha1.NodeRollback
			})
			return n
		},
		blocks: []followed{
			{says: []string{"rolled back to what ran before", "observe-sidecar-tls", "system:auth-delegator", "seictl node retry ax-0"}},
			{says: []string{"ax-0-0 2/2 Running"}},
			{says: []string{"RolledBack"}},
			{says: []string{"Done"}, fix: true, before: func(n *Node, _ string) { n.s.grantReviews() }},
		},
		after: func(n *Node) { n.requireTLS("ClusterIssuer/" + issuerA) },
	},
}

// TestRunbooks provokes the cause of every alert and follows its page, block by block, in a shell.
func TestRunbooks(t *testing.T) {
	needsKubelet(t, "the pages are about containers")
	e := newEnv(t)
	pages, err := filepath.Glob(filepath.Join("..", "docs", "runbooks", "Sei*.md"))
	require.NoError(t, err)
	require.Len(t, runbooks, len(pages), "every page is followed")
	shared := newS(t, e, "runbooks")
	shared.uninstallOperator() // of a suite that was killed
	for i, r := range runbooks {
		if i > 0 && !r.noOperator && runbooks[i-1].noOperator {
			shared.installOperator()
		}
		t.Run(r.alert, func(t *testing.T) {
			s := newS(t, e, "runbook")
			n := r.provoke(s)
			s.follows(r, n)
			if r.after != nil {
				r.after(n)
			}
		})
	}
}

// follows executes the blocks of a page.
func (s *S) follows(r runbook, n *Node) {
	s.Helper()
	blocks := s.runbookPage(r.alert)
	require.Len(s, r.blocks, len(blocks), "blocks of the page")
	shell := s.session(n)
	for i, want := range r.blocks {
		require.Equal(s, want.fix, blocks[i].fix, blocks[i].commands)
		if want.before != nil {
			want.before(n, shell.dir)
		}
		text, code := shell.run(blocks[i])
		require.Equal(s, want.code, code, "exit code of: %s\n%s", blocks[i].commands, text)
		for _, fragment := range want.says {
			require.Contains(s, strings.Join(strings.Fields(text), " "), fragment, blocks[i].commands)
		}
	}
}

// started is a node that the operator brought up.
func (s *S) started(edits ...func(*v1alpha1.SeiNode)) *Node {
	s.Helper()
	n := &Node{s: s, name: "ax-0"}
	s.create(s.manifest(n.name, edits...))
	n.eventually("Ready", isReady)
	return n
}

// provisioned is a node with a Secret that somebody provisioned.
func (s *S) provisioned(life time.Duration) *Node {
	s.Helper()
	n, ca := &Node{s: s, name: "ax-0"}, s.authority()
	cert, key := ca.pair(time.Now().Add(-time.Hour), time.Now().Add(life), n.names()...)
	s.create(ca.secret("ax-0-tls", cert, key))
	return s.started(withTLS(*bySecret("ax-0-tls")))
}

// issuedFor is a node whose Secret comes from a Certificate that somebody made, for so long.
func (s *S) issuedFor(life time.Duration) *Node {
	s.Helper()
	n := &Node{s: s, name: "ax-0"}
	s.create(&cmv1.Certificate{
		ObjectMeta: metav1.ObjectMeta{Name: "ax-0-tls", Namespace: s.ns},
		Spec: cmv1.CertificateSpec{
			SecretName: "ax-0-tls", DNSNames: n.names(), Duration: &metav1.Duration{Duration: life},
			IssuerRef: cmmeta.IssuerReference{Name: issuerA, Kind: "ClusterIssuer"},
		},
	})
	return s.started(withTLS(*bySecret("ax-0-tls")))
}

// operatorBroken has the operator end at its start, for want of rights, and a pod parked meanwhile.
func operatorBroken(s *S) *Node {
	n := s.started()
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: operatorKey.Name}}
	require.NoError(s, s.client.Delete(s.Context(), binding))
	require.NoError(s, s.client.DeleteAllOf(s.Context(), &corev1.Pod{}, client.InNamespace(operatorKey.Namespace), operatorLabels))
	s.eventually("the operator ends at its start", func() error {
		var pods corev1.PodList
		if err := s.client.List(s.Context(), &pods, client.InNamespace(operatorKey.Namespace), operatorLabels); err != nil {
			return err
		}
		for i := range pods.Items {
			for _, c := range pods.Items[i].Status.ContainerStatuses {
				if c.RestartCount > 0 {
					return nil
				}
			}
		}
		return errNotYet
	})
	n.deletePod()
	n.podWhen("parked", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodRunning && !podReady(p) && p.DeletionTimestamp == nil
	})
	return n
}

// operatorLabels are those of the operator's pods.
var operatorLabels = client.MatchingLabels{"app.kubernetes.io/name": operatorKey.Name}

// secretReason is whether the verdict on a node's Secret has a reason.
func secretReason(reason string) func(*v1alpha1.SeiNode) bool {
	return func(o *v1alpha1.SeiNode) bool {
		c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
		return c != nil && c.Reason == reason
	}
}

// pairIn writes tls.crt and tls.key for the node into a directory.
func (n *Node) pairIn(dir string) {
	n.s.Helper()
	cert, key := n.s.authority().pair(time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour), n.names()...)
	require.NoError(n.s, os.WriteFile(filepath.Join(dir, "tls.crt"), cert, 0o600))
	require.NoError(n.s, os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600))
}

// inDays is the day in so many days, as in a timestamp.
func inDays(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
