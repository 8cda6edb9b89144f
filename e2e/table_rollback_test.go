//go:build e2e

package e2e

import (
	"maps"
	"slices"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"

	"sei.io/seictl/api/v1alpha1"
)

// rollbacks are new pods that do not come up as they should.
var rollbacks = []Scenario{
	{
		Name: "proxy-crash-loop", Catalogue: []int{33},
		Instead: []string{"NodeUpdate failed at observe-sidecar-tls, NodeRollback complete, NodeRepair complete; pod cycles: 2"},
		Happens: "TLS is turned on, and the proxy of the new pod ends at every start. It stands before seid, which cannot start.",
		See: "The node is rolled back and serves again. Exit code 4, reason RolledBack with the cause. The update is held: it is not " +
			"tried again until the spec changes or `seictl node retry`.",
		Do: "Look at the proxy's log, repair the cause, then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := s.running()
			n.fault(proxy, "crash-loop", nil)
			n.cycles(2, func() { n.apply("--tls", "--issuer", issuerA).exits(failed).says(proxy) })
			n.requireRolledBack(proxy)
			n.requireEvent(v1alpha1.ReasonRolledBack)
			n.cycles(0, func() { n.apply().exits(failed).says("retry") })
			n.heal(proxy)
			n.cycles(1, func() { n.retry() })
			n.requireTLS("ClusterIssuer/" + issuerA)
			require.Equal(s, []string{"v1", "v1", "v1"}, n.starts())
		},
	},
	{
		Name: "proxy-crash-loop-with-image", Catalogue: []int{33}, Gate: tierReal,
		Instead: []string{"NodeUpdate failed at observe-image, NodeRollback complete, NodeRepair complete; pod cycles: 2"},
		Happens: "Image and TLS change in one edit, and the proxy of the new pod ends at every start.",
		See:     "The node is rolled back to the old image and no TLS. The new image never started, so its data was not migrated.",
		Do:      "Repair the cause, then `seictl node retry NAME`; or take the edit back.",
		Run: func(s *S) {
			n := s.running()
			n.fault(proxy, "crash-loop", nil)
			n.setImage(imageV2)
			n.setTLS(byIssuer(issuerA))
			n.cycles(2, func() { n.apply().exits(failed) })
			n.requireRolledBack(proxy)
			require.Equal(s, imageV1, n.get().Status.CurrentImage)
			require.Equal(s, []string{"v1", "v1"}, n.starts())
			n.setImage(imageV1)
			n.setTLS(nil)
			n.cycles(0, func() { n.apply().exits(done) })
			n.requireReady()
			require.Nil(s, n.get().Status.Hold)
		},
	},
	{
		Name:    "image-unpullable",
		Instead: []string{"NodeUpdate failed at observe-image, NodeRollback complete; pod cycles: 2"},
		Happens: "An image is updated to one that cannot be pulled.",
		See:     "The node is rolled back and held. The message is kubelet's own.",
		Do:      "Correct spec.image.",
		Run: func(s *S) {
			n := s.running()
			n.setImage(imageNone)
			n.cycles(2, func() { n.apply().exits(failed).says(imageNone) })
			n.requireRolledBack(imageNone)
			require.Equal(s, imageV1, n.get().Status.CurrentImage)
		},
	},
	{
		Name: "proxy-unfit", Catalogue: []int{32, 34}, Gate: tierSim,
		Instead: slices.Repeat([]string{"NodeUpdate failed at observe-sidecar-tls, NodeRollback complete, NodeRepair complete; pod cycles: 2"}, 5),
		Happens: "The new pod's port 8443 answers, but with another leaf, without TLS, never, it forbids what seictl asks for, or it cannot " +
			"tell who calls.",
		See: "None of these counts as TLS: each node is rolled back with what was seen on the wire.",
		Do:  "Look at the proxy's log and configuration, then `seictl node retry NAME`.",
		Run: proxyUnfit,
	},
	{
		Name: "proxy-without-rights", Catalogue: []int{32},
		Instead: []string{"NodeUpdate failed at observe-sidecar-tls, NodeRollback complete, NodeRepair complete; pod cycles: 2"},
		Happens: "The ServiceAccount of the nodes may not create TokenReviews, so the proxy cannot tell who calls.",
		See:     "An authenticated call does not get through, so TLS does not count as on: the node is rolled back, and the message names the ClusterRole.",
		Do:      "Bind system:auth-delegator to the node's ServiceAccount, then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := s.running()
			s.revokeReviews()
			n.cycles(2, func() {
				n.apply("--tls", "--issuer", issuerA).exits(failed).says("system:auth-delegator")
			})
			n.requireRolledBack("system:auth-delegator")
		},
	},
	{
		Name:    "mark-ready-refused",
		Instead: []string{"NodeUpdate failed at mark-ready, NodeRollback complete, NodeRepair complete; pod cycles: 2"},
		Happens: "The sidecar of the new pod refuses mark-ready.",
		See:     "seid was not released yet, so the node is rolled back.",
		Do:      "Look at the sidecar's log, then retry.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(2, func() {
				n.fault(sidecar, "refuse-mark-ready", nil)
				apply := n.applying("--tls", "--issuer", issuerA)
				n.eventually("the rollback is due", rollingBack)
				n.heal(sidecar)
				apply.wait().exits(failed)
			})
			n.requireRolledBack("mark-ready")
			require.Equal(s, []string{"v1", "v1"}, n.starts())
		},
	},
	{
		Name:    "sidecar-restarts",
		Happens: "The sidecar restarts after mark-ready and before the pod is Ready: it forgets that it was told.",
		See:     "It is told again, and seid is not left parked.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				apply := n.applyingUntilReplaced("--tls", "--issuer", issuerA)
				n.fault(seid, "catching-up", nil) // keeps the new pod from Ready
				n.eventually("mark-ready is accepted", func(o *v1alpha1.SeiNode) bool {
					t := o.Status.Plan.Task(v1alpha1.TaskMarkReady)
					return t != nil && t.Output != nil && t.Output.Accepted
				})
				n.fault(sidecar, "restart", nil)
				n.podWhen("the sidecar restarted", restarted(sidecar))
				n.heal(seid)
				apply.wait().exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.requireReady()
		},
	},
}

// proxyUnfit toggles a node for each fault, at once.
func proxyUnfit(s *S) {
	cases := map[string]string{
		"wrong-leaf":     "serves certificate",
		"no-tls":         "does not speak TLS",
		"hang-handshake": "handshake",
		"forbid":         "403",
		"no-review":      "system:auth-delegator",
	}
	names := slices.Sorted(maps.Keys(cases))
	nodes := s.runningAll(names...)
	args := []string{"node", "apply", "-n", s.ns, "--yes", lockPatience, "--tls", "--issuer", issuerA}
	for _, n := range nodes {
		n.fault(proxy, n.name, nil)
		args = append(args, n.name)
	}
	s.run(args...).exits(failed)
	for _, n := range nodes {
		n.requireRolledBack(cases[n.name])
		require.Len(s, n.settledPods(), 3, n.name)
	}
}

// revokeReviews takes back what grantReviews granted.
func (s *S) revokeReviews() {
	s.Helper()
	b := &rbacv1.ClusterRoleBinding{}
	b.Name = s.ns
	require.NoError(s, s.client.Delete(s.Context(), b))
}

// requireRolledBack requires that the node runs what it ran before, without TLS, and holds the update.
func (n *Node) requireRolledBack(cause string) {
	n.s.Helper()
	n.requireUpdate(v1alpha1.ReasonRolledBack, cause, "seictl node retry")
	node := n.get()
	require.Nil(n.s, node.Status.CurrentSidecarTLS)
	require.NotNil(n.s, node.Status.Hold)
	require.Contains(n.s, node.Status.Hold.Reason, cause)
	n.requireServing()
}

// retry runs `seictl node retry`, which drives where no operator does.
func (n *Node) retry() {
	n.s.Helper()
	n.s.run("node", "retry", n.name, "-n", n.s.ns, lockPatience).exits(done)
}
