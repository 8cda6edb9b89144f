//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

// exit code of a saved plan that does not fit any more.
const stale = 5

// A plan is saved, somebody else edits the image, and the plan is refused; saved anew, it is applied as it was shown.
func TestSavedPlan(t *testing.T) {
	s := newS(t, newEnv(t), "saved-plan")
	n := s.running()
	file := filepath.Join(t.TempDir(), "ax-0.plan")
	n.plan("--tls", "--issuer", issuerA, "--out", file).exits(done).says("saved to " + file)
	s.run("node", "plan", "--show", file).exits(done).says("apply-sidecar-cert", "observe-sidecar-tls")
	s.run("node", "plan", "--show", file, "-o", "json").exits(done).requireSchema("node-plan.json")

	n.setImage(imageV2) // as field manager kubectl-edit
	before := n.get()
	for _, args := range [][]string{{"node", "plan", "--show", file}, {"node", "apply", file, "--yes"}, {"node", "apply", "--plan", file, "--yes"}} {
		s.run(args...).exits(stale).says("spec.image", imageV1, imageV2, "kubectl-edit", "observe-sidecar-tls", "nothing was changed")
	}
	r := s.run("node", "plan", "--show", file, "-o", "json").exits(stale).requireSchema("node-plan.json")
	var doc struct {
		Stale []struct{ Node, Field, From, To, Manager string }
	}
	require.NoError(s, json.Unmarshal([]byte(r.out), &doc))
	require.Len(s, doc.Stale, 1)
	require.Equal(s, "spec.image "+imageV1+" "+imageV2+" kubectl-edit",
		doc.Stale[0].Field+" "+doc.Stale[0].From+" "+doc.Stale[0].To+" "+doc.Stale[0].Manager)
	require.Equal(s, before.ResourceVersion, n.get().ResourceVersion, "nothing is changed")

	n.setImage(imageV1)
	n.plan("--tls", "--issuer", issuerA, "--out", file).exits(done)
	n.cycles(1, func() { s.run("node", "apply", file, "--yes", lockPatience).exits(done) })
	n.requireTLS("ClusterIssuer/" + issuerA)
	require.Equal(s, imageV1, n.get().Status.CurrentImage)
	s.run("node", "apply", file, "--yes").exits(stale).says("the edit is in the spec already: seictl node apply " + n.name)

	// A node that does not exist yet, from a file.
	created := filepath.Join(t.TempDir(), "ax-1.plan")
	s.run("node", "plan", "-f", s.write(s.manifest("ax-1", func(o *v1alpha1.SeiNode) { o.Spec.ChainID = s.chain + "-1" })), "--out", created).exits(done)
	s.run("node", "apply", created, "--yes", lockPatience).exits(done)
	s.run("node", "apply", created, "--yes").exits(stale).says("metadata.uid")
	s.run("node", "status", "-n", s.ns, "-o", "json").exits(done).requireSchema("node-status.json")
	s.run("node", "verify", "-n", s.ns, n.name, "-o", "json").exits(done).requireSchema("node-verify.json")
	s.run("node", "plan", "-n", s.ns, n.name, "--no-tls", "-o", "json").exits(done).requireSchema("node-plan.json")
}

func TestSavedPlanThatWasCut(t *testing.T) {
	s := newS(t, newEnv(t), "cut-plan")
	for content, says := range map[string]string{
		`{"apiVersion":"seictl.sei.io/v9","kind":"SavedPlan"}`:     `version "seictl.sei.io/v9", and this seictl knows "seictl.sei.io/v1"`,
		`{"apiVersion":"seictl.sei.io/v1","kind":"SavedPlan","nod`: "it was cut or edited after it was saved",
		`apiVersion: v1`: "is no saved plan",
	} {
		path := s.file("x.plan", content)
		require.FileExists(s, path)
		s.run("node", "apply", path, "--yes").exits(failure).oneLine().says(says)
		require.NoError(s, os.Remove(path))
	}
}
