//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// fleets are rollouts over the nodes of a chain.
var fleets = []Scenario{
	{
		Name:    "fleet-in-waves",
		Happens: "TLS is turned on for a chain of standalone nodes and a SeiNodeDeployment, without an operator.",
		See: "A canary, then one node at a time: never more than the budget is down. The children get the template in their wave; a " +
			"node of another chain is not touched. The same command again has nothing to do and writes nothing.",
		Do:  "Nothing.",
		Run: fleetInWaves,
	},
	{
		Name: "fleet-broken-issuer", Catalogue: []int{37},
		Instead: []string{
			"NodeUpdate failed at wait-for-sidecar-tls-secret, NodeUpdate complete",
			"NodeUpdate failed at wait-for-sidecar-tls-secret, NodeUpdate complete",
		},
		Happens: "A whole chain shall get its certificates from an issuer that does not exist.",
		See: "The preflight names it and nothing is touched. Without the preflight the canary finds out: one node is edited and still " +
			"serves, the rollout ends with 4 and names cause and next command. Once the issuer is there, resume finishes.",
		Do:  "Make the issuer, and seictl fleet resume; or seictl fleet undo.",
		Run: fleetBrokenIssuer,
	},
	{
		Name: "fleet-interrupted", Catalogue: []int{36},
		Happens: "A rollout is interrupted with Ctrl-C, resumed, killed with kill -9, and started again; a second seictl comes along.",
		See:     "The second exits with 6. Each time it goes on where it stopped; no node cycles twice.",
		Do:      "seictl fleet resume, or the same command.",
		Run:     fleetInterrupted,
	},
	{
		Name:    "fleet-undo",
		Instead: []string{"nothing"},
		Happens: "A rollout over nodes with TLS off, from another issuer and from a Secret is aborted half-way and taken back.",
		See:     "Each node that was changed returns to its own previous value, in waves of its own; the others are not touched.",
		Do:      "seictl fleet undo.",
		Run:     fleetUndo,
	},
	{
		Name: "fleet-managed", Catalogue: []int{26, 27},
		Instead: []string{
			"nothing",
			"nothing",
		},
		Perhaps: "NodeUpdate superseded", // with a NodeRepair, or what is left is cleared up by the next one
		Happens: "Argo CD manages one node of the chain, and somebody puts the spec of another back in mid-rollout. A third is the child " +
			"of a SeiNodeDeployment, which would put an edit of the child back.",
		See: "The managed one is left alone, and what to commit is printed. What was put back is told, and not written " +
			"again. The child is changed through the template.",
		Do:  "Commit the change where the object is managed from.",
		Run: fleetManaged,
	},
	{
		Name: "fleet-height-stuck", Catalogue: []int{40},
		Happens: "After its change the canary's seid is up and its pod Ready, but its height does not move.",
		See:     "The health gate does not pass: the rollout ends with 4 and says so; no other node is touched.",
		Do:      "See to the node's peers, then seictl fleet resume.",
		Run:     fleetHeightStuck,
	},
	{
		Name:    "fleet-paused-from-elsewhere",
		Happens: "While one machine drives a rollout, somebody pauses it from another.",
		See:     "The node in its pod cycle finishes, no more start, and the driver ends with 3. resume goes on.",
		Do:      "seictl fleet resume.",
		Run:     fleetPausedFromElsewhere,
	},
	{
		Name: "fleet-api-server-away", Catalogue: []int{39}, Alone: true,
		Perhaps: "failed at wait-for-sidecar-tls-secret",
		Happens: "The API server is away for half a minute in the middle of a rollout.",
		See:     "The rollout takes its locks again and goes on, or the same command does; no node cycles twice.",
		Do:      "Run the same command again if it ended, and again if cert-manager is not there yet.",
		Run:     fleetAPIServerAway,
	},
}

// fleet are running nodes of one chain: standalone ones, and the children of a SeiNodeDeployment "syncer".
func (s *S) fleet(standalone, children int) (nodes []*Node) {
	s.Helper()
	var manifests []*v1alpha1.SeiNode
	for i := range standalone {
		manifests = append(manifests, s.manifest(fmt.Sprintf("ax-%d", i)))
	}
	if children > 0 {
		s.bearChildren(children)
	}
	s.bear(manifests...)
	if children > 0 {
		s.drive()
	}
	for i := range standalone {
		nodes = append(nodes, &Node{s: s, name: fmt.Sprintf("ax-%d", i)})
	}
	for i := range children {
		nodes = append(nodes, &Node{s: s, name: fmt.Sprintf("syncer-%d", i)})
	}
	for _, n := range nodes {
		n.requireServing()
		n.eventually("the node is Ready", func(o *v1alpha1.SeiNode) bool { return o.Status.Phase == v1alpha1.PhaseRunning })
	}
	s.drive()
	s.Cleanup(func() {
		// The records, and the Lease of the chain's rollouts.
		_ = s.client.DeleteAllOf(background(), &corev1.ConfigMap{}, client.InNamespace("sei-system"), client.MatchingLabels{"seictl.sei.io/chain": s.chain})
		_ = s.client.Delete(background(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "sei-system", Name: "seictl-rollout-" + s.chain}})
	})
	return nodes
}

// bearChildren makes a SeiNodeDeployment and its children, as the operator would.
func (s *S) bearChildren(replicas int) {
	s.Helper()
	d := &v1alpha1.SeiNodeDeployment{
		ObjectMeta: metav1.ObjectMeta{Name: "syncer", Namespace: s.ns},
		Spec: v1alpha1.SeiNodeDeploymentSpec{
			Replicas: int32(replicas), Template: v1alpha1.SeiNodeTemplate{Spec: s.manifest("x").Spec},
		},
	}
	s.create(d)
	for i := range replicas {
		n := s.manifest(fmt.Sprintf("syncer-%d", i))
		n.Labels = map[string]string{v1alpha1.LabelDeployment: d.Name}
		n.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, v1alpha1.GroupVersion.WithKind("SeiNodeDeployment"))}
		require.NoError(s, s.client.Create(s.Context(), n, client.FieldOwner("seictl-snd")))
	}
}

// drive has the nodes of the chain seen through.
func (s *S) drive() {
	s.Helper()
	s.run("node", "apply", "--chain", s.chain, "-n", s.ns, "--yes", lockPatience).exits(done)
}

func (s *S) fleetArgs(verb string, args ...string) []string {
	out := append([]string{"fleet", verb, "--chain", s.chain}, args...)
	switch verb {
	case "enable-tls", "disable-tls", "undo":
		return append(out, "--yes", lockPatience)
	case "resume":
		return append(out, lockPatience)
	}
	return out
}

// rollOut runs a fleet command to its end.
func (s *S) rollOut(verb string, args ...string) result {
	s.Helper()
	return s.run(s.fleetArgs(verb, args...)...)
}

// rollingOut starts one that goes on beside the scenario.
func (s *S) rollingOut(verb string, args ...string) *command {
	s.Helper()
	return s.command(s.seictl, nil, s.fleetArgs(verb, args...)...).start()
}

// rollout is what `fleet status -o json` says.
type rollout struct {
	Rollout struct {
		Name, State, Reason string
		Nodes               []struct {
			Name, Outcome, Detail string
			Wave                  int
		}
	}
	TLS map[string]int
}

func (s *S) rollout() (out rollout) {
	s.Helper()
	require.NoError(s, json.Unmarshal([]byte(s.command(s.seictl, nil, "fleet", "status", "--chain", s.chain, "-o", "json").start().wait().exits(done).out), &out))
	return out
}

// reached waits until a node of the rollout has an outcome.
func (s *S) reached(node, outcome string) {
	s.Helper()
	s.eventually(node+" is "+outcome, func() error {
		var cms corev1.ConfigMapList
		if err := s.client.List(s.Context(), &cms, client.InNamespace("sei-system"), client.MatchingLabels{"seictl.sei.io/chain": s.chain}); err != nil {
			return err
		}
		for i := range cms.Items {
			if strings.Contains(cms.Items[i].Data["rollout.json"], fmt.Sprintf(`"name":%q`, node)) {
				var r struct {
					Nodes []struct{ Name, Outcome string }
				}
				if err := json.Unmarshal([]byte(cms.Items[i].Data["rollout.json"]), &r); err != nil {
					return err
				}
				for _, n := range r.Nodes {
					if n.Name == node && n.Outcome == outcome {
						return nil
					}
				}
			}
		}
		return fmt.Errorf("not yet")
	})
}

// mostDown samples how many pods of the chain are not Ready at once, until stop is called.
func (s *S) mostDown() (stop func() int) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	most, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		_ = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
			var nodes v1alpha1.SeiNodeList
			var pods corev1.PodList
			if s.client.List(ctx, &nodes, client.InNamespace(s.ns)) != nil || s.client.List(ctx, &pods, client.InNamespace(s.ns)) != nil {
				return false, nil
			}
			down := len(nodes.Items)
			for i := range pods.Items {
				if podReady(&pods.Items[i]) {
					down--
				}
			}
			most = max(most, down)
			return false, nil
		})
	}()
	return func() int {
		cancel()
		<-ended
		return most
	}
}

// onceEach requires that each node is cycled once in what do does.
func (s *S) onceEach(nodes []*Node, do func()) {
	s.Helper()
	run := do
	for _, n := range nodes {
		inner := run
		run = func() { n.cycles(1, inner) }
	}
	run()
}

func fleetInWaves(s *S) {
	nodes := s.fleet(2, 2)
	other := s.manifest("other", func(n *v1alpha1.SeiNode) { n.Spec.ChainID = s.chain + "-x" })
	s.bear(other)
	require.NoError(s, s.get("other", other))
	s.rollOut("plan", "--issuer", issuerA).exits(done).says("snd "+s.ns+"/syncer", "spec.template.spec.sidecar.tls", "4 to change in 4 waves, 4 restarts")
	stop := s.mostDown()
	s.onceEach(nodes, func() { s.rollOut("enable-tls", "--issuer", issuerA).exits(done).says("canary", "complete") })
	require.LessOrEqual(s, stop(), 1, "never more than the budget is down")
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerA)
		s.run("node", "verify", n.name, "-n", s.ns).exits(done)
	}
	untouched := &v1alpha1.SeiNode{}
	require.NoError(s, s.get("other", untouched))
	require.Equal(s, other.Generation, untouched.Generation)
	var snd v1alpha1.SeiNodeDeployment
	require.NoError(s, s.get("syncer", &snd))
	require.Empty(s, snd.Annotations, "what only the rollout needed is gone")
	require.Equal(s, 4, s.rollout().TLS["ClusterIssuer/"+issuerA])

	s.as = "e2e:" + s.ns
	offset := s.auditSize()
	s.rollOut("enable-tls", "--issuer", issuerA).exits(done).says("nothing to do")
	require.Empty(s, s.writes(offset, s.as))
}

func fleetBrokenIssuer(s *S) {
	nodes := s.fleet(3, 0)
	target := []string{"--issuer", "late", "--issuer-kind", "Issuer"}
	r := s.rollOut("enable-tls", target...).exits(failed)
	require.Contains(s, r.errOut, "Issuer/late does not exist; nothing was changed; next: kubectl get issuers -n "+s.ns)
	canary := nodes[0]
	canary.cycles(0, func() {
		s.rollOut("enable-tls", append(target, "--skip-preflight")...).exits(failed).
			says("canary "+s.ns+"/ax-0 failed", `"late" not found`, "seictl fleet resume --chain "+s.chain, "seictl fleet undo --chain "+s.chain)
	})
	canary.requireServing()
	require.NotNil(s, canary.get().SidecarTLS())
	for _, n := range nodes[1:] {
		require.Equal(s, int64(1), n.get().Generation, "%s was not touched", n.name)
	}
	s.authority().issuer("late", true)
	s.onceEach(nodes, func() { s.rollOut("resume").exits(done) })
	for _, n := range nodes {
		n.requireTLS("Issuer/late")
	}
}

func fleetInterrupted(s *S) {
	nodes := s.fleet(2, 2)
	s.onceEach(nodes, func() {
		first := s.rollingOut("enable-tls", "--issuer", issuerA)
		s.reached("ax-1", "started")
		s.run("fleet", "enable-tls", "--chain", s.chain, "--issuer", issuerB, "--yes").exits(lockHeld).says("is under way")
		s.run("fleet", "resume", "--chain", s.chain).exits(lockHeld)
		first.signal(os.Interrupt)
		first.wait().exits(interrupted).says("seictl fleet resume --chain " + s.chain)
		second := s.rollingOut("resume")
		s.reached("syncer-0", "started")
		second.signal(syscall.SIGKILL)
		second.wait().exits(killed)
		s.run("fleet", "status", "--chain", s.chain).exits(done).says("nobody drives it")
		s.rollOut("enable-tls", "--issuer", issuerA).exits(done).says("going on with")
	})
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerA)
	}
}

func fleetUndo(s *S) {
	nodes := s.fleet(4, 2)
	nodes[1].apply("--tls", "--issuer", issuerB).exits(done)
	s.create(s.authority().secretFor(nodes[2], "mine"))
	nodes[2].apply("--tls", "--secret", "mine").exits(done)
	uid := nodes[4].pod().UID
	first := s.rollingOut("enable-tls", "--issuer", issuerA)
	s.reached("syncer-0", "started")
	nodes[4].podWhen("its pod is replaced, which is seen through", func(p *corev1.Pod) bool { return p.UID != uid })
	s.rollOut("abort").exits(done).says("is aborted")
	first.wait().exits(failed)
	last := nodes[5]
	require.Nil(s, last.get().SidecarTLS(), "its turn never came")
	last.cycles(0, func() { s.rollOut("undo").exits(done) })
	for i, want := range []string{"", "ClusterIssuer/" + issuerB, "Secret/mine", "", "", ""} {
		require.Equal(s, want, nodes[i].get().Status.CurrentSidecarTLS.Config().String(), nodes[i].name)
		require.Equal(s, want, nodes[i].get().SidecarTLS().String(), nodes[i].name)
		nodes[i].requireReady()
	}
	s.rollOut("history").exits(done).says("undo", "enable-tls", "aborted", "complete")
	s.rollOut("undo").exits(done).says("nothing to do")
}

func fleetManaged(s *S) {
	nodes := s.fleet(3, 1)
	argo, reverted, child := nodes[0], nodes[1], nodes[3]
	argo.edit(func(n *v1alpha1.SeiNode) {
		n.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "fleet:sei.io/SeiNode:" + s.ns + "/ax-0"}
	})
	// The issuer is not there: the canary waits for as long as it takes to put its spec back.
	first := s.rollingOut("enable-tls", "--issuer", "late", "--issuer-kind", "Issuer", "--skip-preflight")
	s.reached(reverted.name, "started")
	reverted.doing(v1alpha1.TaskWaitForSidecarTLSSecret)
	reverted.setTLS(nil)
	first.wait().exits(failed).
		says("managed", "Argo CD application fleet", "issuerName: late", "was changed to off")
	require.Nil(s, reverted.get().SidecarTLS(), "it is not written again")
	require.Nil(s, argo.get().SidecarTLS())

	s.rollOut("enable-tls", "--issuer", issuerA).exits(done)
	child.requireTLS("ClusterIssuer/" + issuerA)
	var snd v1alpha1.SeiNodeDeployment
	require.NoError(s, s.get("syncer", &snd))
	require.Equal(s, issuerA, snd.Spec.Template.Spec.Sidecar.TLS.IssuerName)
	require.Nil(s, argo.get().SidecarTLS(), "left alone")
	s.rollOut("enable-tls", "--issuer", issuerA, "--force-managed").exits(done)
	argo.requireTLS("ClusterIssuer/" + issuerA)
}

func fleetHeightStuck(s *S) {
	nodes := s.fleet(2, 0)
	nodes[0].fault(seid, "stuck-height", nil)
	s.rollOut("enable-tls", "--issuer", issuerA, "--gate-timeout", "15s").exits(failed).
		says("the height of seid has not moved", "canary "+s.ns+"/ax-0 failed")
	require.Equal(s, int64(1), nodes[1].get().Generation, "not touched")
	nodes[0].heal(seid)
	nodes[0].cycles(0, func() { s.rollOut("resume").exits(done) })
	nodes[1].requireTLS("ClusterIssuer/" + issuerA)
}

func fleetPausedFromElsewhere(s *S) {
	nodes := s.fleet(3, 0)
	s.onceEach(nodes, func() {
		first := s.rollingOut("enable-tls", "--issuer", issuerA)
		s.reached("ax-1", "started")
		s.rollOut("pause").exits(done).says("is paused")
		first.wait().exits(paused).says("seictl fleet resume --chain " + s.chain)
		require.Equal(s, int64(1), nodes[2].get().Generation, "not touched")
		require.Equal(s, "paused", s.rollout().Rollout.State)
		s.rollOut("resume").exits(done)
	})
}

func fleetAPIServerAway(s *S) {
	nodes := s.fleet(3, 0)
	s.onceEach(nodes, func() {
		first := s.rollingOut("enable-tls", "--issuer", issuerA)
		s.reached("ax-0", "done")
		start := s.stopped("kube-apiserver")
		select {
		case r := <-first.ended:
			first.ended <- r
		case <-time.After(30 * time.Second):
		}
		start()
		// cert-manager comes round later than the API server: until its caches are current it issues the same certificate
		// again and again, for most of a minute, and a plan that waits for it may end. No pod is touched for that.
		s.eventually("the same command comes to its end", func() error {
			if first.wait().code == done {
				return nil
			}
			first = s.rollingOut("enable-tls", "--issuer", issuerA)
			return errNotYet
		})
	})
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerA)
		n.requireServing()
	}
	require.False(s, slices.ContainsFunc(s.rollout().Rollout.Nodes, func(n struct {
		Name, Outcome, Detail string
		Wave                  int
	}) bool {
		return n.Outcome != "done"
	}))
}
