//go:build e2e

package e2e

import (
	"os"
	"syscall"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
)

// fleets are rollouts over the nodes of a chain.
var fleets = []Scenario{
	{
		Name: "fleet-in-waves", Gate: tierSim,
		Happens: "TLS is turned on for one of three chains, each of standalone nodes and a SeiNodeDeployment, without an operator. Its " +
			"budget is two.",
		See: "A canary, then two nodes at a time: never more than the budget is down. The children get the template in their wave; the " +
			"other chains are not touched. The same command again has nothing to do and writes nothing.",
		Do:  "Nothing.",
		Run: fleetInWaves,
	},
	{
		Name: "fleet-broken-issuer", Catalogue: []int{37}, Gate: tierSim,
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
		Name: "fleet-interrupted", Catalogue: []int{36}, Gate: tierSim,
		Happens: "A rollout is interrupted with Ctrl-C, resumed, killed with kill -9, and started again; a second seictl comes along.",
		See: "The second exits with 6. Each time it goes on where it stopped; no node cycles twice. Who follows it from elsewhere " +
			"is told that nobody drives it, and then how it ends.",
		Do:  "seictl fleet resume, or the same command.",
		Run: fleetInterrupted,
	},
	{
		Name: "fleet-undo", Gate: tierSim,
		Instead: []string{"nothing"},
		Happens: "A rollout over nodes with TLS off, from another issuer and from a Secret is aborted half-way and taken back.",
		See:     "Each node that was changed returns to its own previous value, in waves of its own; the others are not touched.",
		Do:      "seictl fleet undo.",
		Run:     fleetUndo,
	},
	{
		Name: "fleet-managed", Catalogue: []int{26, 27}, Gate: tierSim,
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
		Name: "fleet-height-stuck", Catalogue: []int{40}, Gate: tierSim,
		Happens: "After its change the canary's seid is up and its pod Ready, but its height does not move.",
		See:     "The health gate does not pass: the rollout ends with 4 and says so; no other node is touched.",
		Do:      "See to the node's peers, then seictl fleet resume.",
		Run:     fleetHeightStuck,
	},
	{
		Name: "fleet-paused-from-elsewhere", Gate: tierSim,
		Happens: "While one machine drives a rollout, somebody pauses it from another.",
		See:     "The node in its pod cycle finishes, no more start, and the driver ends with 3. resume goes on.",
		Do:      "seictl fleet resume.",
		Run:     fleetPausedFromElsewhere,
	},
	{
		Name: "fleet-paused-in-its-bake", Gate: tierSim,
		Instead: []string{"nothing"},
		Happens: "A rollout is paused while its canary bakes, resumed for the rest of the hour, and paused again from another machine.",
		See: "Once resumed it is shown as running at once, and the second pause stops it as the first did: exit code 3, the nodes " +
			"after the canary are not touched.",
		Do:  "seictl fleet resume, or abort.",
		Run: fleetPausedInItsBake,
	},
	{
		Name: "fleet-api-server-away", Catalogue: []int{39}, Alone: true, Gate: tierSim,
		Perhaps: "failed at wait-for-sidecar-tls-secret",
		Happens: "The API server is away for half a minute in the middle of a rollout.",
		See: "The rollout takes its locks again and goes on, or ends with 1, or with 4 where a certificate did not come in time; the same " +
			"command goes on. No node cycles twice.",
		Do:  "See that cert-manager issues again, and run the same command again if it ended.",
		Run: fleetAPIServerAway,
	},
	{
		Name: "fleet-flags", Gate: tierSim,
		Instead: []string{"nothing"},
		Happens: "Rollouts are narrowed down by label and mode, baked with two canaries, tried with --dry-run, read by a program, cut off " +
			"by --timeout, and let go at a validator.",
		See: "--dry-run writes nothing. The first line of -o json has the version of the stream, the last one the exit code. The rest " +
			"starts when the canaries have been watched for the time of --bake; nodes that were not selected are not touched. Who runs " +
			"out of time exits with 124, and resume finishes. The validator is last.",
		Do:  "Nothing.",
		Run: fleetFlags,
	},
	{
		Name: "fleet-failures-allowed", Gate: tierSim,
		Instead: []string{"nothing"},
		Happens: "Two nodes of a chain do not pass their health gate. --max-failures allows one, then --on-failure continue any.",
		See: "With the second failure nothing more starts: exit code 4. With continue the others go on, and the exit code is 4 all the " +
			"same. Once the nodes are well there is nothing left to do.",
		Do:  "See to the nodes that are named.",
		Run: fleetFailures,
	},
	{
		Name: "fleet-catching-up", Catalogue: []int{40}, Gate: tierSim,
		Happens: "While the canary is watched its seid falls behind and is catching up when the bake is over.",
		See:     "The health gate does not pass again: the rollout ends with 4 and says so; no other node is touched.",
		Do:      "Wait for seid or see to its peers, then seictl fleet resume.",
		Run:     fleetCatchingUp,
	},
	{
		Name: "fleet-reverted-after-success", Catalogue: []int{27}, Gate: tierSim,
		Happens: "After a rollout has succeeded, Argo CD puts the spec of a node back to what it has in git: without TLS.",
		See: "The node keeps TLS and says that the removal needs consent; no pod is replaced. The plan shows one edit without a restart, " +
			"and the same command writes the field again.",
		Do:  "Commit the change where the object is managed from; then the same command.",
		Run: fleetRevertedAfterSuccess,
	},
}

func fleetInWaves(s *S) {
	s.chainBudget(2)
	beside := []string{s.chain + "-x", s.chain + "-y"}
	all := s.fleets(chainOf{chain: s.chain, standalone: 2, children: 2},
		chainOf{chain: beside[0], prefix: "x-", standalone: 1, children: 1}, chainOf{chain: beside[1], prefix: "y-", standalone: 1, children: 1})
	nodes, others := all[:4], all[4:]
	s.rollOut("plan", "--issuer", issuerA).exits(done).
		says("snd "+s.ns+"/syncer", "spec.template.spec.sidecar.tls", "4 to change in 3 waves, 4 restarts, at most 2 at once")
	stop := s.mostDown()
	s.untouched(others, func() {
		s.onceEach(nodes, func() { s.rollOut("enable-tls", "--issuer", issuerA).exits(done).says("canary", "complete") })
	})
	most := stop()
	require.Positive(s, most[s.chain], "nobody was seen down, though every pod was replaced")
	require.LessOrEqual(s, most[s.chain], 2, "never more than the budget is down")
	for _, chain := range beside {
		require.Zero(s, most[chain], "of chain %s", chain)
	}
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerA)
		s.run("node", "verify", n.name, "-n", s.ns).exits(done)
	}
	var snd v1alpha1.SeiNodeDeployment
	require.NoError(s, s.get("syncer", &snd))
	require.Empty(s, snd.Annotations, "what only the rollout needed is gone")
	require.Equal(s, 4, s.rollout().TLS["ClusterIssuer/"+issuerA])

	s.as = "e2e:" + s.ns
	offset := s.auditSize()
	s.rollOut("enable-tls", "--issuer", issuerA).exits(done).says("nothing to do")
	require.Empty(s, s.writes(offset, s.as))
}

// untouched requires that what happens in do neither edits nor cycles nodes, nor edits a SeiNodeDeployment of theirs.
func (s *S) untouched(nodes []*Node, do func()) {
	s.Helper()
	generations := func() map[string]int64 {
		out := map[string]int64{}
		for _, n := range nodes {
			o := n.get()
			out[n.name] = o.Generation
			if parent := o.Labels[v1alpha1.LabelDeployment]; parent != "" {
				var snd v1alpha1.SeiNodeDeployment
				require.NoError(s, s.get(parent, &snd))
				out[parent] = snd.Generation
			}
		}
		return out
	}
	before, run := generations(), do
	for _, n := range nodes {
		inner := run
		run = func() { n.cycles(0, inner) }
	}
	run()
	require.Equal(s, before, generations(), "generations")
}

func fleetBrokenIssuer(s *S) {
	nodes := s.fleet(3, 0)
	target := []string{"--issuer", "late", "--issuer-kind", "Issuer"}
	r := s.rollOut("enable-tls", target...).exits(failed)
	require.Contains(s, r.errOut, "issuer-exists: Issuer late not found in namespace "+s.ns)
	require.Contains(s, r.errOut, "nothing was changed; next: seictl fleet plan --chain "+s.chain+" --issuer ")
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
		follower := s.rollingOut("status", "-w")
		follower.told("following")
		second.signal(syscall.SIGKILL)
		second.wait().exits(killed)
		s.run("fleet", "status", "--chain", s.chain).exits(done).says("nobody drives it")
		follower.told("nobody drives it; next: seictl fleet resume --chain " + s.chain)
		s.rollOut("enable-tls", "--issuer", issuerA).exits(done).says("going on with")
		follower.wait().exits(done).says("syncer-1 done", "complete")
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
