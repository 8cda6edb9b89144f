//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
)

// interruptions are drivers that die, meet, or lose their API server.
var interruptions = []Scenario{
	{
		Name: "killed-in-a-toggle", Catalogue: []int{24}, Alone: true, Gate: tierSim,
		Happens: "kill -9 hits a toggle, before or after any of its steps.",
		See:     "The same command goes on where the dead one stopped, at once, and there is one pod cycle in total.",
		Do:      "Run the same command again.",
		Run:     killedInAToggle,
	},
	{
		Name: "killed-at-birth", Alone: true,
		Happens: "kill -9 hits the creation of a node, before or after any of its steps.",
		See:     "The same command goes on where the dead one stopped, at once; the pod is created once.",
		Do:      "Run the same command again.",
		Run:     killedAtBirth,
	},
	{
		Name: "killed-in-a-rollback", Catalogue: []int{24, 35},
		Instead: slices.Repeat([]string{
			"NodeUpdate superseded, NodeRollback complete, NodeRepair complete; pod cycles: 2",
			"NodeRollback complete, NodeRepair complete",
			"NodeRollback complete, NodeRepair complete",
		}, 15),
		Happens: "A toggle is taken back in mid-cycle, and kill -9 hits the rollback, before or after any of its steps.",
		See:     "The same command goes on with the rollback: the old template is back, and the pod was replaced twice in all.",
		Do:      "Run the same command again.",
		Run:     killedInARollback,
	},
	{
		Name:    "killed-in-a-repair",
		Happens: "kill -9 hits a repair (a Certificate deleted by hand), or what a rescheduled pod needs to start.",
		See:     "The same command finishes. No pod cycle.",
		Do:      "Run the same command again.",
		Run:     killedInARepair,
	},
	{
		Name: "two-drivers", Catalogue: []int{36}, Gate: tierReal,
		Instead: []string{"NodeUpdate superseded, NodeUpdate complete"},
		Happens: "A second seictl wants to change a node while one is at work; then the first is interrupted with Ctrl-C.",
		See: "The second exits with 6 and names who holds the lock. The interrupted one exits with 130 and says how to go on; " +
			"its plan is resumed or replaced by the next apply.",
		Do: "Wait for the other driver, or use --lock-timeout.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				first := n.applying("--tls", "--issuer", issuerNone)
				n.doing(v1alpha1.TaskWaitForSidecarTLSSecret)
				s.run("node", "apply", n.name, "-n", s.ns, "--yes").
					exits(lockHeld).says(strconv.Itoa(first.cmd.Process.Pid))
				first.signal(os.Interrupt)
				first.wait().exits(interrupted).says("seictl node apply")
				require.True(s, n.get().Status.Plan.Active())
				n.apply("--tls", "--issuer", issuerA).exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "api-server-away", Catalogue: []int{39}, Alone: true,
		Happens: "The API server is away for half a minute in the middle of a toggle.",
		See:     "The driver may give up, as nobody knows whether it still holds the lock: exit code 1. The same command finishes: one pod cycle.",
		Do:      "Run the same command again once the API server is back.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				apply := n.applyingUntilReplaced("--tls", "--issuer", issuerA)
				s.withoutAPIServer()
				apply.seenThrough([]int{done, failure}, func() *command { return n.applying("--tls", "--issuer", issuerA) })
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.requireServing()
		},
	},
}

// takeoverWithin is how soon the Lease of a dead driver must pass on once somebody asks for it: well before it runs out,
// which takes 15 seconds.
const takeoverWithin = 8 * time.Second

// resumes requires that a command finishes what a dead one left, without waiting for its Lease to run out; with nothing left
// to do it needs no Lease.
func (s *S) resumes(after string, next *command) result {
	s.Helper()
	dead := s.lease()
	next.start()
	begun := time.Now()
	s.eventually("the Lease of the dead passes on", func() error {
		select {
		case r := <-next.ended:
			next.ended <- r
			return nil
		default:
		}
		if s.lease() == dead {
			return errors.New("it is as the dead left it")
		}
		return nil
	})
	require.Less(s, time.Since(begun), takeoverWithin, "after the kill at %s", after)
	return next.wait().exits(done)
}

// around are the failpoints on both sides of tasks.
func around(tasks ...v1alpha1.TaskType) (names []string) {
	for _, t := range tasks {
		names = append(names, "before/"+string(t), "after/"+string(t))
	}
	return names
}

// numbered is a failpoint's first hits.
func numbered(name string, hits ...int) (names []string) {
	for _, i := range hits {
		names = append(names, name+":"+strconv.Itoa(i))
	}
	return names
}

// killedInAToggle turns TLS on and off, and is killed at another point each time.
func killedInAToggle(s *S) {
	on := append(around(v1alpha1.TaskApplySidecarCert, v1alpha1.TaskWaitForSidecarTLSSecret, v1alpha1.TaskApplyRBACProxyConfig,
		v1alpha1.TaskApplyStatefulSet, v1alpha1.TaskReplacePod, v1alpha1.TaskObserveSidecarTLS),
		"applied/apply-sidecar-cert", "applied/apply-statefulset", "deleted/replace-pod", "posted/mark-ready")
	on = append(on, numbered("before/status-patch", 1, 2)...)
	off := append(around(v1alpha1.TaskMarkReady, v1alpha1.TaskApplyService, v1alpha1.TaskObserveImage,
		v1alpha1.TaskDeleteRBACProxyConfig, v1alpha1.TaskDeleteSidecarCert),
		"before-delete/replace-pod", "before-post/mark-ready", "deleted/delete-rbac-proxy-config", "deleted/delete-sidecar-cert")
	off = append(off, numbered("after/status-patch", 1, 2, 3, 4)...)
	require.Len(s, off, len(on), "on and off take turns")

	n := s.running()
	images := map[string]string{imageV1: imageV2, imageV2: imageV1}
	for i := range on {
		n.killedAndResumed(on[i], "--tls", "--issuer", issuerA)
		n.requireTLS("ClusterIssuer/" + issuerA)
		if off[i] == "before/observe-image" || off[i] == "after/observe-image" {
			n.setImage(images[n.get().Spec.Image])
		}
		n.killedAndResumed(off[i], "--no-tls")
		n.requireNoTLSLeft()
	}
}

// killedAndResumed runs an apply that is killed at a failpoint, and the same apply again.
func (n *Node) killedAndResumed(failpoint string, args ...string) {
	n.s.Helper()
	n.cycles(1, func() {
		n.applyKilledAt(failpoint, args...).exits(killed)
		n.s.resumes(failpoint, n.s.command(n.s.seictl, nil, n.applyArgs(args...)...))
	})
	n.requireReady()
}

// during are failpoints that count in one kind of plan only.
func during(kind v1alpha1.PlanKind, points ...string) (names []string) {
	for _, p := range points {
		names = append(names, string(kind)+":"+p)
	}
	return names
}

// killedInARollback takes a toggle back once its new pod is there, and has the rollback killed, at another point each time.
func killedInARollback(s *S) {
	points := append(around(v1alpha1.TaskApplyStatefulSet, v1alpha1.TaskReplacePod, v1alpha1.TaskObserveImage,
		v1alpha1.TaskObserveSidecarTLS, v1alpha1.TaskMarkReady),
		"applied/apply-statefulset", "before-delete/replace-pod", "deleted/replace-pod", "before-post/mark-ready", "posted/mark-ready")
	n := s.running()
	before := n.statefulSet().Spec.Template
	for _, point := range during(v1alpha1.NodeRollback, points...) {
		n.cycles(2, func() {
			uid := n.pod().UID
			n.applyKilledAt("before/observe-sidecar-tls", "--tls", "--issuer", issuerA).exits(killed)
			require.NotEqual(s, uid, n.pod().UID)
			n.setTLS(nil)
			n.applyKilledAt(point).exits(killed)
			n.apply().exits(done)
		})
		require.Equal(s, before, n.statefulSet().Spec.Template)
		n.requireReady()
		n.requireNoTLSLeft()
	}
}

// killedInARepair has what a settled node needs now and then killed, at another point each time.
func killedInARepair(s *S) {
	n := s.running(withTLS(*byIssuer(issuerA)))
	for _, point := range during(v1alpha1.NodeRepair, append(around(v1alpha1.TaskApplySidecarCert), "applied/apply-sidecar-cert")...) {
		s.delete(n.certificateName(), &cmv1.Certificate{})
		n.cycles(0, func() {
			n.applyKilledAt(point).exits(killed)
			n.apply().exits(done)
		})
		n.requireTLS("ClusterIssuer/" + issuerA)
	}
	for _, point := range during(v1alpha1.MarkReady, append(around(v1alpha1.TaskMarkReady), "before-post/mark-ready", "posted/mark-ready")...) {
		n.cycles(1, func() {
			n.evict()
			n.applyKilledAt(point).exits(killed)
			n.apply().exits(done)
			n.requireServing() // later, as after any restart: seid may have to catch up
		})
	}
}

// killedAtBirth creates nodes, and is killed at another point each time.
func killedAtBirth(s *S) {
	points := append(around(v1alpha1.TaskEnsureDataPVC, v1alpha1.TaskConfigApply, v1alpha1.TaskConfigValidate),
		"created/ensure-data-pvc", "before-post/config-apply", "posted/config-apply", "before/status-patch", "after/status-patch")
	for i, point := range points {
		n := &Node{s: s, name: "ax-" + strconv.Itoa(i)}
		args := []string{"node", "apply", "-f", s.write(s.manifest(n.name)), "--yes", lockPatience}
		s.command(s.failpoints, []string{"SEICTL_FAILPOINT=" + point}, args...).start().wait().exits(killed)
		s.resumes(point, s.command(s.seictl, nil, args...))
		n.requireServing()
		require.Len(s, n.settledPods(), 1, "after the kill at %s", point)
		require.Equal(s, []string{"v1"}, n.starts())
		s.delete(n.name, &v1alpha1.SeiNode{})
	}
}

// evict deletes the pod and waits until its successor waits to be marked ready, which a preview shows.
func (n *Node) evict() {
	n.s.Helper()
	n.deletePod()
	n.s.eventually("the new pod's sidecar holds seid back", func() error {
		if r := n.plan(); !strings.Contains(r.out, string(v1alpha1.MarkReady)) {
			return fmt.Errorf("the plan is: %s", r.text())
		}
		return nil
	})
}

// deletePod deletes the pod, as an eviction does, and returns its UID.
func (n *Node) deletePod() types.UID {
	n.s.Helper()
	pod := n.pod()
	require.NoError(n.s, n.s.client.Delete(n.s.Context(), pod))
	return pod.UID
}
