package fleet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/fleet"
)

// writtenBy notes who wrote an object last.
func writtenBy(o metav1.Object, manager string) {
	at := metav1.NewTime(now)
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &at}})
}

// undone are the ways in which a node that was done may not be at the target any more.
var undone = map[string]struct {
	how func(*world)
	why string
}{
	"the spec of a node": {func(w *world) {
		n := fleet.EditNode(w.find("ax-0"), fleet.Edit{TLS: secretTLS})
		writtenBy(n, "argocd-controller")
		w.replace(n)
	}, "spec.sidecar.tls of fleet/ax-0 was changed to Secret/mine by argocd-controller, wanted ClusterIssuer/pacific-1-ca"},
	"a template": {func(w *world) {
		w.deployments[0] = fleet.EditDeployment(w.deployments[0], fleet.Edit{})
		writtenBy(w.deployments[0], "kubectl-edit")
	}, "spec.template.spec.sidecar.tls of snd fleet/syncer was changed to off by kubectl-edit, wanted ClusterIssuer/pacific-1-ca"},
	"what runs": {func(w *world) {
		n := w.find("ax-0").DeepCopy()
		n.Status.CurrentSidecarTLS = nil
		writtenBy(n, "kubectl-edit")
		w.replace(n)
	}, "status.currentSidecarTLS of fleet/ax-0 is off again, wanted ClusterIssuer/pacific-1-ca; its spec was written last by kubectl-edit"},
}

// What is done is read from the nodes: a rollout is not complete when one of them is not at the target any more.
func TestCompleteLooksAtWhatIsDone(t *testing.T) {
	t.Parallel()
	for name, tc := range undone {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.node("ax-0")
			w.snd("syncer", 1, 1)
			w.node("zz-last")
			s := w.strategy()
			s.Canary = 0
			_, r := w.build(enable, s)
			for outcomes(r)["zz-last"] != fleet.Verifying {
				w.pass(r, 0)
			}
			tc.how(w)
			edits := len(w.edits)
			r = w.run(r)
			require.Equal(t, fleet.Failed, r.State, r.Reason)
			require.Contains(t, r.Causes()[0].Text, tc.why)
			require.Len(t, w.edits, edits, "nothing is written over")
		})
	}
}

// Whoever resumes is told first, and a canary that was taken back proves nothing any more.
func TestReopenLooksAtWhatIsDone(t *testing.T) {
	t.Parallel()
	for name, tc := range undone {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.node("ax-0")
			w.snd("syncer", 1, 1)
			w.node("zz-last")
			_, r := w.build(enable, w.strategy())
			for outcomes(r)["zz-last"] == fleet.Pending || outcomes(r)["syncer-0"] != fleet.Done {
				w.pass(r, 0)
			}
			r.State = fleet.Paused
			tc.how(w)
			edits := len(w.edits)
			r.Reopen(w.view())
			r = w.run(r)
			require.Equal(t, fleet.Failed, r.State, r.Reason)
			require.Contains(t, r.Causes()[0].Text, tc.why)
			require.Len(t, w.edits, edits, "nothing is written over")
		})
	}
}

// A proxy that serves a certificate which nobody vouches for does not pass the gate.
func TestGateWantsTheLeafVerified(t *testing.T) {
	t.Parallel()
	w, r := verifying(t)
	n := w.find("ax-0").DeepCopy()
	n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *issuerTLS}
	w.replace(n)
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Contains(t, r.Nodes[0].Detail, "TLS is not verified on the wire: status.currentSidecarTLS has no fingerprint")
	require.Contains(t, r.Nodes[0].Detail, "seictl node verify ax-0 -n fleet")
}

// A node that was created anew while later waves ran is another one: born with the target it is no failure.
func TestCompleteKnowsWhatWasCreatedAnew(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tls  *v1alpha1.SidecarTLSConfig
		want fleet.State
	}{"with the target": {issuerTLS, fleet.Complete}, "without": {nil, fleet.Failed}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.node("ax-0")
			w.node("zz-last")
			s := w.strategy()
			s.Canary = 0
			_, r := w.build(enable, s)
			w.lags["zz-last"] = true
			for outcomes(r)["zz-last"] != fleet.Verifying || outcomes(r)["ax-0"] != fleet.Done {
				w.pass(r, time.Second)
			}
			w.lags["zz-last"] = false
			n := fleet.EditNode(w.find("ax-0"), fleet.Edit{TLS: tc.tls})
			n.UID, n.Status.CurrentSidecarTLS = "another", nil
			w.replace(n)
			r = w.run(r)
			require.Equal(t, tc.want, r.State, r.Reason)
			if tc.want == fleet.Failed {
				require.Contains(t, r.Causes()[0].Text, "it was deleted and created anew, with spec.sidecar.tls off, wanted ClusterIssuer/pacific-1-ca")
			}
		})
	}
}
