//go:build e2e

package e2e

import (
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// operators are the scenarios with the operator installed. They run one after the other.
var operators = []Scenario{
	{
		Name:    "operator-enable",
		Happens: "With the operator installed, somebody patches spec.sidecar.tls of a running node with kubectl.",
		See: "One plan, one pod cycle. Conditions, events, currentSidecarTLS and lastPlan tell the story, `kubectl wait " +
			"--for=condition=Ready` returns, and nothing is written afterwards.",
		Do: "Nothing.",
		Run: func(s *S) {
			n := s.born("ax-0")
			n.cycles(1, func() {
				n.setTLS(byIssuer(issuerA))
				n.awaitUpdate()
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.requireUpdate(v1alpha1.ReasonUpdateComplete)
			n.requireEvent(v1alpha1.ReasonTLSToggleStarted)
			n.requireEvent(v1alpha1.ReasonUpdateComplete)
			last := n.get().Status.LastPlan
			require.Equal(s, v1alpha1.PlanComplete, last.Outcome)
			require.Equal(s, []v1alpha1.PlanCause{v1alpha1.SidecarTLSDrift}, last.Causes)
			s.lab("kubectl", "wait", "--for=condition=Ready", "seinode/"+n.name, "-n", s.ns, "--timeout=10s")
			s.requireQuiet()
		},
	},
	{
		Name:    "operator-eviction",
		Happens: "The pod of a running node is deleted, as by an eviction.",
		See:     "The operator tells its successor that it may start: Ready again, with a MarkReady plan.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.born("ax-0")
			n.deletePod()
			n.eventually("marked ready again", func(o *v1alpha1.SeiNode) bool {
				return o.Status.LastPlan != nil && o.Status.LastPlan.Kind == v1alpha1.MarkReady && isReady(o)
			})
			require.Equal(s, v1alpha1.PlanComplete, n.get().Status.LastPlan.Outcome)
		},
	},
	{
		Name: "operator-chain-budget", Catalogue: []int{37},
		Happens: "All nodes of a chain are edited within one second.",
		See:     "The budget of the chain is 1: at no moment are two pods down. Who waits says UpdateQueued, and for whom.",
		Do:      "Nothing, or raise budgets in the settings.",
		Run: func(s *S) {
			nodes := s.bornAll("ax-0", "ax-1", "ax-2", "ax-3")
			o := s.watchOutage()
			for _, n := range nodes {
				n.setTLS(byIssuer(issuerA))
			}
			nodes[len(nodes)-1].requireEvent(v1alpha1.ReasonUpdateQueued, "waits for "+s.ns+"/")
			for _, n := range nodes {
				n.awaitUpdate()
				n.requireTLS("ClusterIssuer/" + issuerA)
			}
			o.requireAtMost(s, 1)
			s.requireCycles(nodes, 2)
		},
	},
	{
		Name: "operator-deployment", Catalogue: []int{26},
		Happens: "TLS is turned on in the template of a SeiNodeDeployment of five, and the operator is killed in the middle.",
		See: "Never are two children down, and each has one pod cycle. A child that is edited by hand is put back, with an event. " +
			"A scale-down leaves the volumes.",
		Do:  "Edit the template, not the children.",
		Run: deploymentRun,
	},
	{
		Name:    "operator-rollback",
		Instead: []string{"NodeUpdate failed at observe-image, NodeRollback complete; pod cycles: 2"},
		Happens: "An image that cannot be pulled.",
		See:     "The node is rolled back to what it ran, and held. Correcting the image is seen at once.",
		Do:      "Correct the image.",
		Run: func(s *S) {
			n := s.born("ax-0")
			n.setImage(imageNone)
			n.eventually("rolled back and held", func(o *v1alpha1.SeiNode) bool {
				return o.Status.Hold != nil && o.Status.LastPlan != nil && o.Status.LastPlan.Kind == v1alpha1.NodeRollback
			})
			n.requireUpdate(v1alpha1.ReasonRolledBack)
			n.setImage(imageV2)
			n.awaitUpdate()
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
		},
	},
	{
		Name:    "operator-removal",
		Happens: "spec.sidecar.tls is removed, at first without consent.",
		See:     "The node keeps TLS and says so; with the annotation it goes, in one pod cycle, and the annotation is consumed.",
		Do:      "Set the annotation if it is meant.",
		Run: func(s *S) {
			n := s.born("ax-0", withTLS(*byIssuer(issuerA)))
			n.cycles(0, func() {
				n.setTLS(nil)
				n.requireEvent(v1alpha1.ReasonRemovalNeedsConsent)
			})
			n.cycles(1, func() {
				s.foresee(n.name, "-n", s.ns, "--no-tls")
				n.edit(func(o *v1alpha1.SeiNode) {
					metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1alpha1.AnnotationAllowTLSRemoval, "true")
				})
				n.eventually("TLS is off and the consent consumed", func(o *v1alpha1.SeiNode) bool {
					return o.Status.CurrentSidecarTLS == nil && !o.TLSRemovalAllowed() && isReady(o)
				})
			})
			n.requireNoTLSLeft()
		},
	},
	{
		Name:    "operator-no-account",
		Happens: "A namespace of nodes lacks the ServiceAccount of their pods.",
		See:     "The task that waits for the pod says so in the words of the event. Once it is there the node starts by itself.",
		Do:      "seictl install base --apply --node-namespace NAMESPACE",
		Run: func(s *S) {
			account := &corev1.ServiceAccount{}
			account.Namespace, account.Name = s.ns, "seid-node"
			require.NoError(s, s.client.Delete(s.Context(), account))
			n := &Node{s: s, name: "ax-0"}
			s.create(s.manifest(n.name))
			n.saysOf(v1alpha1.TaskReplacePod, "seid-node")
			s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "seid-node", Namespace: s.ns}})
			n.eventually("Ready", isReady)
		},
	},
	{
		Name: "operator-and-cli", Catalogue: []int{36},
		Happens: "`seictl node apply` runs while the operator is installed.",
		See:     "It edits the spec and watches: exit code 0 once the operator is done, one pod cycle.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.born("ax-0")
			n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done).says("watches") })
			n.requireTLS("ClusterIssuer/" + issuerA)
			require.Contains(s, s.holder(), "operator/")
		},
	},
	{
		Name: "operator-fleet", Catalogue: []int{36},
		Instead: []string{"nothing"},
		Happens: "A rollout over a chain is started while the operator drives; it is paused, resumed and aborted from elsewhere, and undone.",
		See: "The commands edit specs and watch; the operator keeps its Lease. pause ends the first one with 3, abort the second one with 4: " +
			"who had no turn is not touched. undo takes back what was changed.",
		Do:  "Nothing.",
		Run: operatedFleet,
	},
	{
		Name:    "operator-settings",
		Happens: "The settings are edited while the operator runs, at first with a typing error.",
		See:     "The event SettingsInvalid on the ConfigMap names the field; the last good ones stay in force. Good ones are in force at once.",
		Do:      "Correct the field that the event names.",
		Run:     settingsRun,
	},
	{
		Name:    "operator-metrics",
		Happens: "Prometheus scrapes the operator.",
		See:     "Only who may gets /metrics. Gauges are states: a node's series are gone with the node.",
		Do:      "Bind the ClusterRole seictl-metrics-reader.",
		Run:     metricsRun,
	},
	{
		Name:    "operator-foreign-controller",
		Happens: "Another controller writes a node that the operator drives.",
		See:     "Ready is False, ForeignController, and names it; nothing is done to the node until that controller stops.",
		Do:      "Stop the other controller.",
		Run: func(s *S) {
			n := s.born("ax-0")
			other := n.get()
			metav1.SetMetaDataLabel(&other.ObjectMeta, "touched", "yes")
			// Managed fields have whole seconds: the other's write must be later than our last one.
			n.eventually("a later second", func(o *v1alpha1.SeiNode) bool {
				return time.Since(o.Status.LastPlan.FinishedAt.Time) > 3*time.Second
			})
			require.NoError(s, s.client.Update(s.Context(), other, client.FieldOwner("seinode-controller")))
			n.eventually("refused", func(o *v1alpha1.SeiNode) bool {
				c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
				return c.Reason == v1alpha1.ReasonForeignController && strings.Contains(c.Message, "seinode-controller")
			})
		},
	},
	{
		Name:    "operator-killed-often",
		Happens: "The operator is killed with -9 again and again, at random moments of a rollout (E2E_KILLS times, E2E_FLEET nodes).",
		See:     "It converges, and each node has one pod cycle.",
		Do:      "Nothing.",
		Run:     killedRun,
	},
}
