//go:build e2e

package e2e

import (
	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

// sidecars are sidecars that do not do what they are asked, and what seid makes of being let go.
var sidecars = []Scenario{
	{
		Name:    "sidecar-hangs",
		Happens: "The sidecar of the new pod takes requests and never answers.",
		See:     "The plan waits and names the pod whose sidecar cannot be reached. Once it answers the plan goes on: one pod cycle.",
		Do:      "Look at the sidecar's log. Past the deadline the node is rolled back: then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				apply := n.applyingUntilReplaced("--image", imageV2)
				n.fault(sidecar, "hang", nil)
				apply.told("sidecar of pod " + s.ns + "/ax-0-0 cannot be reached")
				n.heal(sidecar)
				apply.wait().exits(done)
			})
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
			n.requireReady()
		},
	},
	{
		Name:    "sidecar-unauthorized",
		Happens: "The sidecar of the new pod answers 401 to whoever calls it through the proxy.",
		See: "The plan waits before it lets seid go, and says what may be missing: the rights of the pod's ServiceAccount, the proxy's " +
			"flags. Once calls get through the plan goes on: one pod cycle.",
		Do: "Follow what the message says. Past the deadline the node is rolled back: then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				apply := n.applyingUntilReplaced("--tls", "--issuer", issuerA)
				n.fault(sidecar, "status-401", nil)
				apply.told("sidecar of pod " + s.ns + "/ax-0-0 answers 401")
				n.heal(sidecar)
				apply.wait().exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
			require.Equal(s, []string{"v1", "v1"}, n.starts())
		},
	},
	{
		Name:    "config-refused",
		Instead: []string{"NodeInit failed at config-apply"},
		Happens: "A node is created, and its sidecar cannot write seid's configuration.",
		See: "The task is posted again, twice; then the initialisation fails in the sidecar's words, exit code 4. seid was never let go. " +
			"Once the sidecar can, an apply finishes with the pod that is there.",
		Do: "Look at the sidecar's log, then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := &Node{s: s, name: "ax-0"}
			n.fault(sidecar, "fail-task", map[string]any{"type": "config-apply", "error": "no space left on device"})
			create := []string{"node", "apply", "-f", s.write(s.manifest(n.name)), "--yes", "--skip-preflight", lockPatience}
			s.run(create...).exits(failed).says("config-apply failed in the sidecar of pod "+s.ns+"/ax-0-0", "no space left on device")
			require.False(s, podReady(n.pod()))
			n.heal(sidecar)
			n.cycles(0, func() { n.retry() })
			n.requireServing()
			require.Equal(s, []string{"v1"}, n.starts())
		},
	},
	{
		Name:    "config-lost",
		Happens: "A node is created, and its sidecar accepts the task that writes seid's configuration and forgets it.",
		See:     "The task is posted until the sidecar knows of it. seid starts once.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := &Node{s: s, name: "ax-0"}
			n.fault(sidecar, "lose-task", map[string]any{"type": "config-apply"})
			create := s.command(s.seictl, nil, "node", "apply", "-f", s.write(s.manifest(n.name)), "--yes", "--skip-preflight", lockPatience).start()
			n.saysOf(v1alpha1.TaskConfigApply, "config-apply was posted to the sidecar of pod "+s.ns+"/ax-0-0")
			n.heal(sidecar)
			create.wait().exits(done)
			n.requireServing()
			require.Len(s, n.settledPods(), 1)
			require.Equal(s, []string{"v1"}, n.starts())
		},
	},
	{
		Name:    "seid-crash-loop",
		Instead: []string{"NodeUpdate failed at mark-ready"},
		Happens: "An image is updated, and its seid ends at every start.",
		See: "The sidecar had let the new seid go, which may have migrated its data: nothing is rolled back. The plan fails when the pod " +
			"is not Ready in time, exit code 4, reason UpdateFailed, and the update is held. One pod cycle.",
		Do: "Look at seid's log. Repair the cause, then `seictl node retry NAME`; or set an image that can read the data.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				apply := n.applyingUntilReplaced("--image", imageV2)
				n.fault(seid, "crash-loop", nil)
				apply.wait().exits(failed).says("container seid")
			})
			n.requireUpdate(v1alpha1.ReasonUpdateFailed, "container seid")
			require.NotNil(s, n.get().Status.Hold)
			require.Equal(s, imageV2, n.statefulSet().Spec.Template.Spec.Containers[0].Image, "not rolled back")
			n.cycles(0, func() { n.apply().exits(failed).says("retry") })
			n.heal(seid)
			n.cycles(0, func() { n.retry() })
			require.Equal(s, imageV2, n.get().Status.CurrentImage)
			n.requireServing()
		},
	},
	{
		Name:    "seid-crashes-later",
		Happens: "The seid of a settled node crashes again and again, long after its last plan.",
		See:     "Nothing is done to the node: no plan, no pod cycle. `seictl node explain` names the container that crashes.",
		Do:      "Look at seid's log.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			plan := n.get().Status.LastPlan.ID
			n.cycles(0, func() {
				n.fault(seid, "crash-loop", nil)
				s.eventually("the pod is not Ready", func() error {
					if podReady(n.pod()) {
						return errNotYet
					}
					return nil
				})
				s.eventually("explain names seid", func() error {
					r := s.run("node", "explain", n.name, "-n", s.ns)
					if !holdsAll(r.text(), []string{"seid", "crash"}) {
						return errNotYet
					}
					return nil
				})
				n.heal(seid)
				n.requireServing()
			})
			require.Equal(s, plan, n.get().Status.LastPlan.ID)
		},
	},
	{
		Name:    "slow-stop",
		Happens: "seid takes its time to close its databases when its pod is replaced.",
		See:     "The plan waits and says since when the pod terminates and how long it may: it is not killed. One pod cycle.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running()
			n.fault(seid, "slow-stop", map[string]any{"seconds": 8})
			n.cycles(1, func() {
				apply := n.applying("--tls", "--issuer", issuerA)
				n.saysOf(v1alpha1.TaskReplacePod, "Terminating since", "grace period 30 s")
				require.Greater(s, apply.wait().exits(done).took.Seconds(), 8.0)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
}
