//go:build e2e

package e2e

import (
	"fmt"
	"syscall"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// pods are evictions, stuck pods, and others who write what the node owns.
var pods = []Scenario{
	{
		Name: "evicted-before-the-delete", Catalogue: []int{23},
		Happens: "The pod is evicted after the template was changed and before seictl deletes it: it comes back new.",
		See:     "No second delete: one pod cycle.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				n.applyKilledAt("before/replace-pod", "--tls", "--issuer", issuerA).exits(killed)
				uid := n.deletePod()
				n.podWhen("the pod came back", func(p *corev1.Pod) bool { return p.UID != uid })
				n.apply().exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "evicted-under-the-delete", Catalogue: []int{23}, Gate: tierSim,
		Happens: "The pod is evicted after seictl decided to delete it and before the request leaves: the new pod has its name.",
		See:     "The delete names the UID of the old pod, so the new one stays: one pod cycle.",
		Do:      "Nothing.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				apply := n.applyStoppedAt("before-delete/replace-pod", "--tls", "--issuer", issuerA)
				uid := n.deletePod()
				n.podWhen("the pod came back", func(p *corev1.Pod) bool { return p.UID != uid })
				apply.signal(syscall.SIGCONT)
				apply.wait().exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name:    "evicted-while-nobody-drives",
		Happens: "The pod of a settled node is rescheduled, and no operator runs: the new sidecar holds seid back.",
		See:     "The pod is not Ready until somebody drives: the next apply runs the plan MarkReady. No further pod cycle.",
		Do:      "Run `seictl node apply NAME`, or have `seictl operator run` in the cluster.",
		Run: func(s *S) {
			n := s.running(withTLS(*byIssuer(issuerA)))
			n.cycles(1, func() {
				n.evict()
				n.apply().exits(done)
			})
			require.Equal(s, v1alpha1.MarkReady, n.get().Status.LastPlan.Kind)
			n.requireTLS("ClusterIssuer/" + issuerA)
			n.requireServing()
		},
	},
	{
		Name: "stuck-terminating", Catalogue: []int{25}, Gate: tierSim,
		Happens: "The old pod does not go: a finalizer holds it, as a dead machine would.",
		See:     "seictl waits and says since when it terminates. It never deletes by force: two seid on one validator key are a double sign.",
		Do:      "See to the machine, or to whoever owns the finalizer.",
		Run: func(s *S) {
			n := s.running()
			uid := n.pod().UID
			release := n.holdPod()
			n.cycles(1, func() {
				apply := n.applying("--tls", "--issuer", issuerA)
				n.saysOf(v1alpha1.TaskReplacePod, "Terminating since")
				require.Equal(s, uid, n.pod().UID)
				release()
				apply.wait().exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "controller-away", Catalogue: []int{10}, Alone: true, Gate: tierSim,
		Happens: "The StatefulSet controller is away when TLS is turned on: the status still names the revision of the old template.",
		See:     "seictl waits for the controller to see the new template, and does not take the old pod for the new one. Then one pod cycle.",
		Do:      "See to kube-controller-manager.",
		Run: func(s *S) {
			n := s.running()
			n.cycles(1, func() {
				start := s.stopped("kube-controller-manager")
				apply := n.applying("--tls", "--issuer", issuerA)
				n.saysOf(v1alpha1.TaskReplacePod, "to see the new template")
				start()
				apply.wait().exits(done)
			})
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "scaled-to-two", Catalogue: []int{22},
		Instead: []string{"NodeUpdate failed at replace-pod, NodeRollback complete, NodeRepair complete"},
		Happens: "Somebody scales the node's StatefulSet to two while its pod is being replaced.",
		See:     "The plan refuses to go on: another pod on the same volume or key is a disaster. The node is rolled back, with one replica.",
		Do:      "Leave StatefulSets of SeiNodes alone; then `seictl node retry NAME`.",
		Run: func(s *S) {
			n := s.running()
			release := n.holdPod()
			apply := n.applying("--tls", "--issuer", issuerA)
			n.saysOf(v1alpha1.TaskReplacePod, "Terminating since")
			sts := n.statefulSet()
			sts.Spec.Replicas = new(int32(2))
			s.update(sts)
			n.eventually("the rollback is due", rollingBack)
			// Its pod comes from the template that is live when the old one is gone.
			s.eventually("the template of before is back", func() error {
				if *n.statefulSet().Spec.Replicas != 1 {
					return errNotYet
				}
				return nil
			})
			release()
			apply.wait().exits(failed)
			n.requireRolledBack("replicas")
			require.Equal(s, int32(1), *n.statefulSet().Spec.Replicas)
			n.retry()
			n.requireTLS("ClusterIssuer/" + issuerA)
		},
	},
	{
		Name: "foreign-statefulset", Catalogue: []int{22}, Gate: tierReal,
		Instead: []string{"NodeInit failed at apply-statefulset"},
		Happens: "A StatefulSet of the node's name belongs to somebody else when the node is created.",
		See:     "seictl does not take it over: the initialisation fails and names it.",
		Do:      "Rename the node, or remove the other StatefulSet.",
		Run: func(s *S) {
			theirs := foreignStatefulSet(s.ns, "ax-0")
			s.create(theirs)
			n := &Node{s: s, name: "ax-0"}
			r := s.run("node", "apply", "-f", s.write(s.manifest(n.name)), "--yes", "--skip-preflight", lockPatience)
			r.exits(failed).says("StatefulSet", "ax-0")
			require.Equal(s, "nginx", n.statefulSet().Spec.Template.Spec.Containers[0].Name)
		},
	},
	{
		Name: "another-manager", Catalogue: []int{28, 29}, Gate: tierSim,
		Instead: []string{"NodeUpdate failed at apply-statefulset, NodeRollback complete; pod cycles: 0"},
		Happens: "Another manager forces the proxy container into the StatefulSet and keeps it there when TLS is removed.",
		See:     "The removal does not claim to be done: the plan fails and names the field and its manager.",
		Do:      "Have that manager give the field up, then retry.",
		Run:     anotherManager,
	},
}

// anotherManager co-owns the proxy container, so that it survives when seictl stops applying it.
func anotherManager(s *S) {
	n := s.running(withTLS(*byIssuer(issuerA)))
	sts := n.statefulSet()
	var proxyContainer corev1.Container
	for _, c := range sts.Spec.Template.Spec.InitContainers {
		if c.Name == proxy {
			proxyContainer = c
		}
	}
	theirs := map[string]any{
		"apiVersion": "apps/v1", "kind": "StatefulSet",
		"metadata": map[string]any{"name": n.name, "namespace": s.ns},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"initContainers": []any{map[string]any{"name": proxy, "image": proxyContainer.Image}},
		}}},
	}
	s.applyAs("somebody", theirs)
	n.cycles(0, func() { n.apply("--no-tls").exits(failed).says("somebody", proxy) })
	n.requireServing()
	n.requireTLS("ClusterIssuer/" + issuerA)
}

func foreignStatefulSet(ns, name string) *appsv1.StatefulSet {
	labels := map[string]string{"app": "theirs"}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: "lab.invalid/none"}}},
			},
		},
	}
}

// holdPod keeps the pod from going, with a finalizer, until release.
func (n *Node) holdPod() (release func()) {
	n.s.Helper()
	const finalizer = "sei.io/e2e"
	pod := n.pod()
	pod.Finalizers = append(pod.Finalizers, finalizer)
	n.s.update(pod)
	release = func() {
		if pod == nil {
			return
		}
		pod = nil
		var live corev1.Pod
		if err := n.s.client.Get(background(), types.NamespacedName{Namespace: n.s.ns, Name: n.podName()}, &live); err != nil {
			return
		}
		before := live.DeepCopy()
		live.Finalizers = nil
		require.NoError(n.s, n.s.client.Patch(background(), &live, client.MergeFrom(before)))
	}
	n.s.Cleanup(release)
	return release
}

func rollingBack(o *v1alpha1.SeiNode) bool {
	return o.Status.Plan.Active() && o.Status.Plan.Kind == v1alpha1.NodeRollback
}

// restarted says whether a container of the pod started more than once.
func restarted(container string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		status := statusOf(p, container)
		return status != nil && status.RestartCount > 0 && status.State.Running != nil
	}
}

func statusOf(p *corev1.Pod, container string) *corev1.ContainerStatus {
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			if statuses[i].Name == container {
				return &statuses[i]
			}
		}
	}
	return nil
}

func same(want, got string) error {
	if want != got {
		return fmt.Errorf("wanted %s, found %s", want, got)
	}
	return nil
}
