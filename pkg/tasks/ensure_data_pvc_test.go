package tasks

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func testClaim(mutate ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: testNamespace, Name: "data-alpha", UID: "claim-uid",
		Labels: map[string]string{v1alpha1.LabelNode: "alpha", v1alpha1.LabelChain: "arctic-1"},
	}}
	for _, m := range mutate {
		m(c)
	}
	return c
}

func podMounting(claim, ofNode string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "user", Labels: map[string]string{v1alpha1.LabelNode: ofNode}},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}},
		Status: corev1.PodStatus{Phase: phase},
	}
}

func nodeImporting(name, claim string) *v1alpha1.SeiNode {
	n := testNode()
	n.Name, n.UID = name, "other-uid"
	if claim != "" {
		n.Spec.DataVolume = &v1alpha1.DataVolume{Import: &v1alpha1.DataVolumeImport{PVCName: claim}}
	}
	return n
}

func TestEnsureDataPVC(t *testing.T) {
	for name, c := range map[string]struct {
		objs     []client.Object
		imports  string
		terminal string
		message  string
	}{
		"absent":                 {},
		"ours":                   {objs: []client.Object{testClaim()}},
		"our pod uses it":        {objs: []client.Object{testClaim(), podMounting("data-alpha", "alpha", corev1.PodRunning)}},
		"a finished pod used it": {objs: []client.Object{testClaim(), podMounting("data-alpha", "beta", corev1.PodSucceeded)}},
		"owned by somebody": {objs: []client.Object{testClaim(func(c *corev1.PersistentVolumeClaim) {
			c.OwnerReferences = ownedBy("StatefulSet", "db", "u")
		})}, terminal: "its controller is StatefulSet db"},
		"of another chain": {objs: []client.Object{testClaim(func(c *corev1.PersistentVolumeClaim) {
			c.Labels[v1alpha1.LabelChain] = "pacific-1"
		})}, terminal: `is labelled as of node "alpha", chain "pacific-1"`},
		"of another node": {objs: []client.Object{testClaim(func(c *corev1.PersistentVolumeClaim) {
			c.Labels[v1alpha1.LabelNode] = "beta"
		})}, terminal: `is labelled as of node "beta"`},
		"without labels": {objs: []client.Object{testClaim(func(c *corev1.PersistentVolumeClaim) { c.Labels = nil })},
			terminal: "kubectl label pvc -n chain data-alpha --overwrite sei.io/node=alpha sei.io/chain=arctic-1"},
		"being deleted": {objs: []client.Object{testClaim(func(c *corev1.PersistentVolumeClaim) {
			c.DeletionTimestamp, c.Finalizers = &metav1.Time{Time: now}, []string{"kubernetes.io/pvc-protection"}
		})}, message: "PersistentVolumeClaim chain/data-alpha is being deleted"},
		"lost its volume": {objs: []client.Object{testClaim(func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost })},
			terminal: "has lost its volume"},
		"mounted by another node's pod": {objs: []client.Object{testClaim(), podMounting("data-alpha", "beta", corev1.PodRunning)},
			terminal: "is mounted by pod user, which is not of this node"},
		"imported by another node": {objs: []client.Object{nodeImporting("beta", "data-alpha")},
			terminal: "belongs to SeiNode beta as well"},
		"imports":             {objs: []client.Object{testClaim(func(c *corev1.PersistentVolumeClaim) { c.Name, c.Labels = "snapshot", nil })}, imports: "snapshot"},
		"imports what is not": {imports: "snapshot", message: "PersistentVolumeClaim chain/snapshot, which the spec imports, does not exist"},
		"imports what another imports": {objs: []client.Object{nodeImporting("beta", "snapshot")}, imports: "snapshot",
			terminal: "belongs to SeiNode beta as well"},
		"imports what another owns": {objs: []client.Object{nodeImporting("beta", "")}, imports: "data-beta",
			terminal: "belongs to SeiNode beta as well"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, c.objs...)
			node := testNode()
			if c.imports != "" {
				node = nodeImporting("alpha", c.imports)
			}
			p := resources.DataPVCParamsFor(node, env.Settings)
			in := input(v1alpha1.TaskEnsureDataPVC, v1alpha1.TaskParams{EnsureDataPVC: &p})
			before := claimsOf(t, env)
			r, err := Run(t.Context(), env, in)
			switch {
			case c.terminal != "":
				require.True(t, IsTerminal(err), "%v", err)
				require.ErrorContains(t, err, c.terminal)
			case c.message != "":
				requireWaits(t, r, err, c.message)
				require.Positive(t, r.RequeueAfter)
			default:
				require.NoError(t, err)
				require.Equal(t, Done, r.Phase)
			}
			if name != "absent" {
				require.Equal(t, before, claimsOf(t, env), "it is never written")
				return
			}
			got := claimsOf(t, env)
			require.Len(t, got, 1)
			require.Empty(t, got[0].OwnerReferences, "deleting the SeiNode keeps the data")
			require.Equal(t, "alpha", got[0].Labels[v1alpha1.LabelNode])
			r, err = Run(t.Context(), env, in)
			require.NoError(t, err)
			require.Equal(t, Done, r.Phase, "safe to run twice")
		})
	}
}

func claimsOf(t *testing.T, env *Env) []corev1.PersistentVolumeClaim {
	t.Helper()
	list := &corev1.PersistentVolumeClaimList{}
	require.NoError(t, env.Live.List(t.Context(), list))
	return list.Items
}
