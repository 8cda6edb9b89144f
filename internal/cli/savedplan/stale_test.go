package savedplan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// compare saves a plan, writes it to a file, changes the node and compares.
func compare(t *testing.T, change func(*v1alpha1.SeiNode)) []Change {
	t.Helper()
	f, err := Decode([]byte(encoded(t)))
	require.NoError(t, err)
	live := node()
	change(live)
	read, err := Read(live)
	require.NoError(t, err)
	return f.Nodes[0].Compare(Live{Node: live, Read: read}, f.CreatedAt)
}

func TestChurnDoesNotInvalidate(t *testing.T) {
	require.Empty(t, compare(t, func(n *v1alpha1.SeiNode) {
		at := metav1.NewTime(saved)
		n.ResourceVersion, n.Generation = "9", 1
		n.Labels = map[string]string{"a": "b"}
		n.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"}
		n.Status.ObservedGeneration = 7
		n.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True"}}
		n.Status.LastPlan = &v1alpha1.PlanSummary{ID: "x"}
		n.Status.FirstReadyAt = &at
		n.Status.SidecarTLS = &v1alpha1.SidecarTLSContract{SecretName: "x"}
		n.Status.Plan = &v1alpha1.Plan{ID: "m", Kind: v1alpha1.MarkReady, Phase: v1alpha1.PlanActive}
	}))
}

// A certificate that was renewed, and a default that was written down, change nothing.
func TestRenewalDoesNotInvalidate(t *testing.T) {
	before := node()
	before.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "ca"}}
	before.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *before.Spec.Sidecar.TLS, FingerprintSHA256: "a"}
	after := before.DeepCopy()
	after.Spec.Sidecar.TLS.IssuerKind = v1alpha1.IssuerKindClusterIssuer
	now := metav1.NewTime(saved)
	after.Status.CurrentSidecarTLS.FingerprintSHA256, after.Status.CurrentSidecarTLS.ObservedAt = "b", &now
	a, err := Read(before)
	require.NoError(t, err)
	b, err := Read(after)
	require.NoError(t, err)
	require.Equal(t, a, b)
}

func TestStale(t *testing.T) {
	later := saved.Add(time.Minute)
	edit := func(n *v1alpha1.SeiNode, fields string) {
		n.ManagedFields = append(n.ManagedFields, written("kubectl-edit", time.Minute, "", fields))
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.SeiNode)
		want   string
	}{
		"image": {func(n *v1alpha1.SeiNode) {
			n.Spec.Image = "v3"
			n.ManagedFields[0] = written("kubectl", -time.Hour, "", `{"f:spec":{"f:chainId":{}}}`)
			edit(n, `{"f:spec":{"f:image":{}}}`)
		}, "spec.image: v1 → v3, by kubectl-edit at 2026-03-01T12:01:00Z"},
		"override": {func(n *v1alpha1.SeiNode) {
			n.Spec.Overrides["p2p.max_peers"] = "20"
			edit(n, `{"f:spec":{"f:overrides":{"f:p2p.max_peers":{}}}}`)
		}, "spec.overrides[p2p.max_peers]: 10 → 20, by kubectl-edit at 2026-03-01T12:01:00Z"},
		"TLS added": {func(n *v1alpha1.SeiNode) {
			n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{SecretName: "s"}}
			edit(n, `{"f:spec":{"f:sidecar":{".":{},"f:tls":{".":{},"f:secretName":{}}}}}`)
		}, "spec.sidecar.tls.secretName: (none) → s, by kubectl-edit at 2026-03-01T12:01:00Z"},
		"removed, and nobody says by whom": {func(n *v1alpha1.SeiNode) {
			n.Spec.Overrides = nil
			n.ManagedFields[0] = written("kubectl", -time.Hour, "", `{"f:spec":{"f:chainId":{},"f:image":{}}}`)
		}, "spec.overrides[p2p.max_peers]: 10 → (none)"},
		"removed by somebody who wrote beside it": {func(n *v1alpha1.SeiNode) {
			n.Spec.Overrides = map[string]string{}
			n.ManagedFields[0] = written("kubectl", -time.Hour, "", `{"f:spec":{"f:chainId":{},"f:image":{}}}`)
			edit(n, `{"f:spec":{"f:overrides":{".":{}}}}`)
		}, "spec.overrides[p2p.max_peers]: 10 → (none), by kubectl-edit at 2026-03-01T12:01:00Z"},
		"consent": {func(n *v1alpha1.SeiNode) {
			n.Annotations = map[string]string{v1alpha1.AnnotationAllowTLSRemoval: "true"}
			edit(n, `{"f:metadata":{"f:annotations":{".":{},"f:sei.io/allow-sidecar-tls-removal":{}}}}`)
		}, "metadata.annotations[sei.io/allow-sidecar-tls-removal]: (none) → true, by kubectl-edit at 2026-03-01T12:01:00Z"},
		"observed": {func(n *v1alpha1.SeiNode) {
			n.Status.CurrentImage = "v2"
			n.ManagedFields = append(n.ManagedFields, written("seictl-engine", time.Minute, "status", `{"f:status":{"f:currentImage":{}}}`))
		}, "status.currentImage: v1 → v2, by seictl-engine at 2026-03-01T12:01:00Z"},
		"update under way": {func(n *v1alpha1.SeiNode) {
			n.Status.Plan = &v1alpha1.Plan{ID: "id", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive}
		}, "status.plan: (none) → NodeUpdate id"},
		"another node of that name": {func(n *v1alpha1.SeiNode) { n.UID = "uid-1" }, "metadata.uid: uid-0 → uid-1"},
		"being deleted": {func(n *v1alpha1.SeiNode) { at := metav1.NewTime(later); n.DeletionTimestamp = &at },
			"status.terminating: (none) → true"},
	} {
		t.Run(name, func(t *testing.T) {
			changes := compare(t, c.change)
			require.Len(t, changes, 1)
			require.Equal(t, c.want, changes[0].String())
			require.Equal(t, "fleet/ax-0", changes[0].Node)
		})
	}
}

func TestGoneIsStale(t *testing.T) {
	f := file(t)
	require.Equal(t, "metadata.uid: uid-0 → (none)", f.Nodes[0].Compare(Live{}, saved)[0].String())
}

func TestSettingsAreStale(t *testing.T) {
	f := file(t)
	s := settings.Default()
	same, err := ReadSettings(s)
	require.NoError(t, err)
	require.Empty(t, f.CompareSettings(same, nil))
	s.ProxyImage = "other"
	other, err := ReadSettings(s)
	require.NoError(t, err)
	changes := f.CompareSettings(other, []metav1.ManagedFieldsEntry{written("kubectl-edit", time.Minute, "", `{"f:data":{"f:config.yaml":{}}}`)})
	require.Len(t, changes, 1)
	require.Equal(t, "settings.proxyImage: quay.io/brancz/kube-rbac-proxy:v0.21.0 → other, by kubectl-edit at 2026-03-01T12:01:00Z", changes[0].String())
}
