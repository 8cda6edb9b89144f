//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// Images of the lab.
const (
	imageV1 = "lab.invalid/seid:v1"
	imageV2 = "lab.invalid/seid:v2"
	// imageNone cannot be pulled.
	imageNone = "lab.invalid/seid:none"
)

// Issuers of the lab, and one that does not exist.
const (
	issuerA    = "arctic-1-ca"
	issuerB    = "pacific-1-ca"
	issuerNone = "no-such-ca"
)

// Node is a SeiNode of a scenario.
type Node struct {
	s    *S
	name string
}

// lockPatience has commands wait for those of other scenarios.
const lockPatience = "--lock-timeout=15m"

// withTLS has a node start with TLS.
func withTLS(tls v1alpha1.SidecarTLSConfig) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: &tls} }
}

// manifest is a SeiNode as a user would write it.
func (s *S) manifest(name string, edits ...func(*v1alpha1.SeiNode)) *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.ns},
		Spec:       v1alpha1.SeiNodeSpec{ChainID: s.chain, Image: imageV1, FullNode: &v1alpha1.FullNodeSpec{}},
	}
	for _, edit := range edits {
		edit(n)
	}
	return n
}

// running is a new node that runs.
func (s *S) running(edits ...func(*v1alpha1.SeiNode)) *Node {
	s.Helper()
	n := &Node{s: s, name: "ax-0"}
	s.bear(s.manifest(n.name, edits...))
	require.Equal(s, v1alpha1.PhaseRunning, n.get().Status.Phase)
	// A new node counts as done once seid has started: syncing can take days. Here it takes a moment.
	n.requireServing()
	return n
}

// apply runs `seictl node apply` on the node.
func (n *Node) apply(args ...string) result {
	n.s.Helper()
	return n.s.run(n.applyArgs(args...)...)
}

func (n *Node) applyArgs(args ...string) []string {
	// The scenarios are about what happens when things go wrong: the preflight, which would refuse, has tests of its own.
	return append([]string{"node", "apply", n.name, "-n", n.s.ns, "--yes", "--skip-preflight", lockPatience}, args...)
}

// applying is an apply that goes on beside the scenario.
func (n *Node) applying(args ...string) *command {
	n.s.Helper()
	return n.s.command(n.s.seictl, nil, n.applyArgs(args...)...).start()
}

// applyingUntilReplaced is an apply that has deleted the old pod and goes on.
func (n *Node) applyingUntilReplaced(args ...string) *command {
	n.s.Helper()
	uid := n.pod().UID
	c := n.applying(args...)
	n.s.eventually("the old pod is gone or going", func() error {
		var pod corev1.Pod
		err := n.s.get(n.podName(), &pod)
		if client.IgnoreNotFound(err) != nil || (err == nil && pod.UID == uid && pod.DeletionTimestamp == nil) {
			return fmt.Errorf("pod %s: %w", pod.UID, err)
		}
		return nil
	})
	return c
}

// applyKilledAt runs an apply that is killed, as by kill -9, at a failpoint.
func (n *Node) applyKilledAt(failpoint string, args ...string) result {
	n.s.Helper()
	return n.s.command(n.s.failpoints, []string{"SEICTL_FAILPOINT=" + failpoint}, n.applyArgs(args...)...).start().wait()
}

// applyStoppedAt is an apply that stands still at a failpoint until it is sent SIGCONT: not for longer than the driver's
// lock lasts.
func (n *Node) applyStoppedAt(failpoint string, args ...string) *command {
	n.s.Helper()
	c := n.s.command(n.s.failpoints, []string{"SEICTL_FAILPOINT=" + failpoint, "SEICTL_FAILPOINT_STOP=1"}, n.applyArgs(args...)...).start()
	n.s.eventually("the driver stands still at "+failpoint, func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		if err != nil {
			return fmt.Errorf("reading its state: %w", err)
		}
		if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("it is in state %.1s", state)
		}
		return nil
	})
	return c
}

// plan runs `seictl node plan` on the node.
func (n *Node) plan(args ...string) result {
	n.s.Helper()
	return n.s.run(append([]string{"node", "plan", n.name, "-n", n.s.ns}, args...)...)
}

func (n *Node) get() *v1alpha1.SeiNode {
	n.s.Helper()
	var node v1alpha1.SeiNode
	require.NoError(n.s, n.s.get(n.name, &node))
	return &node
}

// edit changes the node as `kubectl edit` would.
func (n *Node) edit(change func(*v1alpha1.SeiNode)) {
	n.s.Helper()
	before := n.get()
	after := before.DeepCopy()
	change(after)
	require.NoError(n.s, n.s.client.Patch(n.s.Context(), after, client.MergeFrom(before), client.FieldOwner("kubectl-edit")))
}

func (n *Node) setImage(image string) {
	n.s.Helper()
	n.s.foresee(n.name, "-n", n.s.ns, "--image", image)
	n.edit(func(o *v1alpha1.SeiNode) { o.Spec.Image = image })
}

func (n *Node) setTLS(tls *v1alpha1.SidecarTLSConfig) {
	n.s.Helper()
	if tls != nil {
		// Without consent the removal of TLS is nothing that a flag could ask for.
		n.s.foresee(append([]string{n.name, "-n", n.s.ns}, tlsFlags(tls)...)...)
	}
	n.edit(func(o *v1alpha1.SeiNode) {
		if o.Spec.Sidecar == nil {
			o.Spec.Sidecar = &v1alpha1.SidecarConfig{}
		}
		o.Spec.Sidecar.TLS = tls
	})
}

// tlsFlags ask for TLS from a source.
func tlsFlags(tls *v1alpha1.SidecarTLSConfig) []string {
	if tls.SecretName != "" {
		return []string{"--tls", "--secret", tls.SecretName}
	}
	return []string{"--tls", "--issuer", tls.IssuerName}
}

// eventually waits for the node to be as check wants it.
func (n *Node) eventually(what string, check func(*v1alpha1.SeiNode) bool) {
	n.s.Helper()
	n.s.eventually(what, func() error {
		var node v1alpha1.SeiNode
		if err := n.s.get(n.name, &node); err != nil {
			return err
		}
		if !check(&node) {
			data, _ := json.Marshal(node.Status) //nolint:errchkjson // for the message only
			return fmt.Errorf("not yet: %s", data)
		}
		return nil
	})
}

// doing waits until a task of the active plan runs.
func (n *Node) doing(task v1alpha1.TaskType) {
	n.s.Helper()
	n.eventually("task "+string(task)+" runs", func(o *v1alpha1.SeiNode) bool {
		t := o.Status.Plan.Task(task)
		return o.Status.Plan.Active() && t != nil && t.Status == v1alpha1.TaskRunning
	})
}

// saysOf waits until a task of the plan says what it waits for.
func (n *Node) saysOf(task v1alpha1.TaskType, texts ...string) {
	n.s.Helper()
	n.eventually(fmt.Sprintf("task %s says %q", task, texts), func(o *v1alpha1.SeiNode) bool {
		t := o.Status.Plan.Task(task)
		return t != nil && holdsAll(t.Message, texts)
	})
}

func (n *Node) podName() string { return n.name + "-0" }

// pod is the live pod.
func (n *Node) pod() *corev1.Pod {
	n.s.Helper()
	var pod corev1.Pod
	require.NoError(n.s, n.s.get(n.podName(), &pod))
	return &pod
}

// podWhen waits for a pod that is as check wants it.
func (n *Node) podWhen(what string, check func(*corev1.Pod) bool) *corev1.Pod {
	n.s.Helper()
	var pod corev1.Pod
	n.s.eventually(what, func() error {
		if err := n.s.get(n.podName(), &pod); err != nil {
			return err
		}
		if !check(&pod) {
			return fmt.Errorf("pod %s: %v", pod.UID, pod.Status.Phase)
		}
		return nil
	})
	return &pod
}

// cycles requires that what happens in do costs exactly so many pod cycles.
func (n *Node) cycles(want int, do func()) {
	n.s.Helper()
	before := n.settledPods()
	do()
	after := n.settledPods()
	require.Len(n.s, after, len(before)+want, "pod cycles: pods before %v, after %v", before, after)
}

// settledPods are the incarnations of the pod seen so far, up to the live one.
func (n *Node) settledPods() (uids []types.UID) {
	n.s.Helper()
	n.s.eventually("the pod's history reaches the live pod", func() error {
		var pod corev1.Pod
		if err := n.s.get(n.podName(), &pod); err != nil {
			return err
		}
		uids = n.s.history.of(n.podName())
		if len(uids) == 0 || uids[len(uids)-1] != pod.UID {
			return fmt.Errorf("%v does not end with %s", uids, pod.UID)
		}
		return nil
	})
	return uids
}

func (n *Node) statefulSet() *appsv1.StatefulSet {
	n.s.Helper()
	var sts appsv1.StatefulSet
	require.NoError(n.s, n.s.get(n.name, &sts))
	return &sts
}

func (n *Node) certificateName() string { return n.name + "-sidecar-tls" }

func (n *Node) certificate() *cmv1.Certificate {
	n.s.Helper()
	var c cmv1.Certificate
	require.NoError(n.s, n.s.get(n.certificateName(), &c))
	return &c
}

// requireCondition requires a condition, its reason, and texts in its message.
func (n *Node) requireCondition(conditionType string, status metav1.ConditionStatus, reason string, texts ...string) {
	n.s.Helper()
	node := n.get()
	c := meta.FindStatusCondition(node.Status.Conditions, conditionType)
	require.NotNil(n.s, c, "condition %s", conditionType)
	require.Equal(n.s, string(status)+" "+reason, string(c.Status)+" "+c.Reason, "%s: %s", conditionType, c.Message)
	for _, text := range texts {
		require.Contains(n.s, c.Message, text)
	}
}

// requireUpdate requires how the last update ended.
func (n *Node) requireUpdate(reason string, texts ...string) {
	n.s.Helper()
	n.requireCondition(v1alpha1.ConditionNodeUpdateInProgress, metav1.ConditionFalse, reason, texts...)
}

// requireReady requires that the status and the pod say that all is well.
func (n *Node) requireReady() {
	n.s.Helper()
	n.requireCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	require.True(n.s, podReady(n.pod()), "pod %s is not Ready", n.podName())
}

// requireServing requires that the pod, whatever the driver says of it, is Ready.
func (n *Node) requireServing() {
	n.s.Helper()
	n.podWhen("the pod is Ready", podReady)
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

// requireEvent requires an event about the node.
func (n *Node) requireEvent(reason string, texts ...string) {
	n.s.Helper()
	n.s.eventually("event "+reason, func() error {
		var list corev1.EventList
		if err := n.s.client.List(n.s.Context(), &list, client.InNamespace(n.s.ns)); err != nil {
			return err
		}
		for i := range list.Items {
			e := &list.Items[i]
			if e.InvolvedObject.Kind == "SeiNode" && e.InvolvedObject.Name == n.name && e.Reason == reason && holdsAll(e.Message, texts) {
				return nil
			}
		}
		return fmt.Errorf("no event %s with %q", reason, texts)
	})
}

func holdsAll(s string, texts []string) bool {
	for _, t := range texts {
		if !strings.Contains(s, t) {
			return false
		}
	}
	return true
}

// requireGone requires that an object is gone or going.
func (n *Node) requireGone(name string, o client.Object) {
	n.s.Helper()
	err := n.s.get(name, o)
	require.True(n.s, apierrors.IsNotFound(err), "%T %s is still there (%v)", o, name, err)
}

// requireNoTLSLeft requires that nothing of TLS is left.
func (n *Node) requireNoTLSLeft() {
	n.s.Helper()
	require.Nil(n.s, n.get().Status.CurrentSidecarTLS)
	n.requireGone(n.certificateName(), &cmv1.Certificate{})
	n.requireGone(n.certificateName(), &corev1.Secret{})
	n.requireGone(n.name+"-rbac-proxy-config", &corev1.ConfigMap{})
	for _, c := range n.pod().Spec.InitContainers {
		require.NotEqual(n.s, "kube-rbac-proxy", c.Name)
	}
	var svc corev1.Service
	require.NoError(n.s, n.s.get(n.name, &svc))
	for _, p := range svc.Spec.Ports {
		require.NotEqual(n.s, int32(8443), p.Port)
	}
}

// starts are the versions of seid that were started on the node's volume, in order.
func (n *Node) starts() (versions []string) {
	n.s.Helper()
	var pvc corev1.PersistentVolumeClaim
	require.NoError(n.s, n.s.get("data-"+n.name, &pvc))
	var pv corev1.PersistentVolume
	require.NoError(n.s, n.s.client.Get(n.s.Context(), types.NamespacedName{Name: pvc.Spec.VolumeName}, &pv))
	require.NotNil(n.s, pv.Spec.HostPath, "volumes of the lab are directories")
	f, err := os.Open(filepath.Join(pv.Spec.HostPath.Path, "data", "starts.log"))
	require.NoError(n.s, err)
	defer func() { require.NoError(n.s, f.Close()) }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct{ Version string }
		require.NoError(n.s, json.Unmarshal(lines.Bytes(), &line))
		versions = append(versions, line.Version)
	}
	return versions
}
