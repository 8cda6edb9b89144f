package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/savedplan"
	"sei.io/seictl/pkg/settings"
)

// withCluster lets a factory talk to a cluster that holds objects, and the default settings.
func withCluster(t *testing.T, f *factory.Factory, objects ...client.Object) client.Client {
	t.Helper()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: settings.ConfigMapName},
		Data: map[string]string{settings.Key: "sidecarImage: registry.example/sidecar:v1\n"}}
	c := fake.NewClientBuilder().WithScheme(factory.Scheme()).WithStatusSubresource(&v1alpha1.SeiNode{}).
		WithObjects(append(objects, config)...).Build()
	f.Connect = func(*factory.Factory) (*factory.Cluster, error) {
		return &factory.Cluster{Client: c, Host: "https://fake"}, nil
	}
	return c
}

// runs is a node that runs v1.
func runs() *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0", UID: "uid-0"}}
	n.Spec = v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "registry.example/seid:v1", FullNode: &v1alpha1.FullNodeSpec{}}
	n.Status = v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: n.Spec.Image}
	return n
}

// save saves the plan of an edit and returns the file.
func save(t *testing.T, f *factory.Factory, selection Selection, edit Edit) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.plan")
	r := &resolver{f: f, selection: selection, edit: edit}
	targets, err := r.resolve(t.Context())
	require.NoError(t, err)
	items := make([]preview.Item, len(targets))
	for i := range targets {
		items[i] = preview.Build(preview.Input{Node: targets[i].node, Settings: settings.Default(), Now: now})
	}
	require.NoError(t, r.savePlan(t.Context(), path, targets, items))
	return path
}

func TestSavedPlanCarriesItsEdit(t *testing.T) {
	f, _ := offline(t)
	c := withCluster(t, f, runs())
	path := save(t, f, Selection{Chain: "arctic-1", AllNamespaces: true}, Edit{Image: "registry.example/seid:v2"})
	// What others write elsewhere stays.
	var live v1alpha1.SeiNode
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: "ax-0"}, &live))
	live.Labels = map[string]string{"team": "x"}
	require.NoError(t, c.Update(t.Context(), &live))

	r := &resolver{f: f, planFile: path}
	targets, err := r.resolve(t.Context())
	require.NoError(t, err)
	require.Len(t, targets, 1)
	require.True(t, targets[0].changed())
	require.Equal(t, "registry.example/seid:v2", targets[0].node.Spec.Image)
	require.Equal(t, "x", targets[0].node.Labels["team"])
	require.Equal(t, "registry.example/seid:v1", targets[0].live.Spec.Image)
}

func TestSavedPlanOfAFile(t *testing.T) {
	f, _ := offline(t)
	withCluster(t, f)
	manifest := filepath.Join(t.TempDir(), "node.yaml")
	text, _, _ := strings.Cut(planCase{}.manifest(), "status:")
	require.NoError(t, os.WriteFile(manifest, []byte(text), 0o600))
	path := save(t, f, Selection{Files: []string{manifest}}, Edit{})
	r := &resolver{f: f, planFile: path}
	targets, err := r.resolve(t.Context())
	require.NoError(t, err)
	require.Nil(t, targets[0].live)
	require.NotNil(t, targets[0].object, "it is applied server-side")
	require.Equal(t, "arctic-1", targets[0].node.Spec.ChainID)

	withCluster(t, f, runs())
	f2, _ := offline(t)
	withCluster(t, f2, runs())
	_, err = (&resolver{f: f2, planFile: path}).resolve(t.Context())
	require.ErrorContains(t, err, "metadata.uid: (none) → uid-0")
}

func TestStalePlanIsShown(t *testing.T) {
	f, s := offline(t)
	c := withCluster(t, f, runs())
	path := save(t, f, Selection{Chain: "arctic-1", AllNamespaces: true}, Edit{TLS: true, Secret: "tls-a"})
	var live v1alpha1.SeiNode
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: "ax-0"}, &live))
	live.Spec.Image = "registry.example/seid:v3"
	require.NoError(t, c.Update(t.Context(), &live))

	out, err := show(t, f, s, path)
	require.Equal(t, exit.Stale, exit.Code(err))
	require.ErrorContains(t, err, "saved.plan is stale: fleet/ax-0: spec.image: registry.example/seid:v1 → registry.example/seid:v3")
	require.ErrorContains(t, err, "nothing was changed; next: save the plan again with seictl node plan --out ")
	require.Contains(t, out, "wait-for-sidecar-tls-secret", "the plan is still shown")
	require.Contains(t, out, "changed since")

	out, err = show(t, f, s, path, "-o", "json")
	require.Equal(t, exit.Stale, exit.Code(err))
	var doc showList
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	require.True(t, doc.Saved.Checked)
	require.Equal(t, "spec.image", doc.Stale[0].Field)
	require.Equal(t, "NodeUpdate", doc.Items[0].Plan.Kind)

	var applied *ApplyOptions
	cmd := NewCmdApply(f, func(ctx context.Context, o *ApplyOptions) error { applied = o; return applyRun(ctx, o) })
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{path, "--yes"})
	err = cmd.ExecuteContext(t.Context())
	require.Equal(t, exit.Stale, exit.Code(err))
	require.Equal(t, path, applied.PlanFile)
	require.Contains(t, s.errOut.String(), "wait-for-sidecar-tls-secret", "the plan is still shown")
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: "ax-0"}, &live))
	require.Nil(t, live.Spec.Sidecar, "nothing is changed")
}

func show(t *testing.T, f *factory.Factory, s *streams, path string, args ...string) (string, error) {
	t.Helper()
	s.out.Reset()
	s.errOut.Reset()
	cmd := NewCmdPlan(f, nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append([]string{"--show", path}, args...))
	err := cmd.ExecuteContext(t.Context())
	return s.out.String(), err
}

func TestSavedPlanThatIsDone(t *testing.T) {
	f, s := offline(t)
	c := withCluster(t, f, runs())
	path := save(t, f, Selection{Chain: "arctic-1", AllNamespaces: true}, Edit{Image: "registry.example/seid:v2"})
	var live v1alpha1.SeiNode
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: "fleet", Name: "ax-0"}, &live))
	live.Spec.Image = "registry.example/seid:v2"
	require.NoError(t, c.Update(t.Context(), &live))
	_, err := show(t, f, s, path)
	require.ErrorContains(t, err, "next: the edit is in the spec already: seictl node apply ax-0 -n fleet")
}

func TestShowWithoutACluster(t *testing.T) {
	f, _ := offline(t)
	withCluster(t, f, runs())
	path := save(t, f, Selection{Chain: "arctic-1", AllNamespaces: true}, Edit{Image: "registry.example/seid:v2"})
	f, s := offline(t)
	out, err := show(t, f, s, path)
	require.NoError(t, err)
	require.Contains(t, out, "replace-pod")
	require.Contains(t, s.errOut.String(), "whether the plan still fits is not known")
}

// The plan that was approved is the plan that runs.
func TestAnotherPlanIsStale(t *testing.T) {
	f, _ := offline(t)
	withCluster(t, f, runs())
	path := save(t, f, Selection{Chain: "arctic-1", AllNamespaces: true}, Edit{Image: "registry.example/seid:v2"})
	r := &resolver{f: f, planFile: path}
	_, err := r.resolve(t.Context())
	require.NoError(t, err)
	same := r.saved.Nodes[0].Preview
	require.NoError(t, r.sameAsSaved([]preview.Item{same}))
	same.Plan = &preview.Plan{Kind: "MarkReady", Tasks: []preview.Task{{Type: "mark-ready"}}}
	err = r.sameAsSaved([]preview.Item{same})
	require.ErrorContains(t, err, "fleet/ax-0: plan: NodeUpdate: apply-statefulset, apply-service, replace-pod, observe-image, mark-ready → MarkReady: mark-ready")
}

func TestOutNeedsTheCluster(t *testing.T) {
	f, _ := offline(t)
	_, _, err := runPlan(t, planCase{image: "v2"}.manifest(), "--out", filepath.Join(t.TempDir(), "p"))
	require.ErrorContains(t, err, "a plan is saved for the nodes of a cluster, and none answers")
	require.NotNil(t, f)
}

func TestPlanFileAmongArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	f := &savedplan.File{CreatedAt: time.Now()}
	data, err := f.Encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("a.plan", data, 0o600))
	require.NoError(t, os.WriteFile("node.yaml", []byte("kind: SeiNode"), 0o600))
	require.NoError(t, os.WriteFile("ax-0", []byte("a file of that name"), 0o600))
	for _, c := range []struct {
		args       []string
		want, fail string
	}{
		{[]string{"ax-0"}, "", ""},
		{[]string{"ax-0", "ax-1"}, "", ""},
		{[]string{"seinode.sei.io/ax-0"}, "", ""},
		{[]string{"a.plan"}, "a.plan", ""},
		{[]string{"./a.plan"}, "./a.plan", ""},
		{[]string{"a.plan", "ax-0"}, "", "a.plan is a saved plan, which names its nodes: apply it alone"},
		{[]string{"node.yaml"}, "", "node.yaml is no saved plan: wanted a file that seictl node plan --out wrote; a manifest is applied with -f node.yaml"},
		{[]string{"missing.plan"}, "", "missing.plan: no such file: wanted the name of a node or a saved plan"},
	} {
		got, err := planFile(c.args)
		if c.fail != "" {
			require.EqualError(t, err, c.fail)
			continue
		}
		require.NoError(t, err, c.args)
		require.Equal(t, c.want, got)
	}
}
