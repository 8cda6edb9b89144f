package node

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/explain"
	"sei.io/seictl/pkg/drift"
)

// requireSchema holds a document against a schema of the documentation.
func requireSchema(t *testing.T, name, document string) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(filepath.Join("..", "..", "..", "docs", "schemas", name))
	require.NoError(t, err)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(v), document)
}

func asDocument(t *testing.T, v any) string {
	t.Helper()
	f := output.NewFormat(output.JSON)
	require.NoError(t, f.Set(output.JSON))
	var b bytes.Buffer
	require.NoError(t, f.Write(&b, v))
	return b.String()
}

func TestPlanFitsItsSchema(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "plan", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		requireSchema(t, "node-plan.json", string(data))
	}
}

func TestStalePlanFitsItsSchema(t *testing.T) {
	f, s := offline(t)
	withCluster(t, f, runs())
	path := save(t, f, Selection{Chain: "arctic-1", AllNamespaces: true}, Edit{Image: "registry.example/seid:v2"})
	changed := runs()
	changed.Spec.Paused = true
	f2, s2 := offline(t)
	withCluster(t, f2, changed)
	out, err := show(t, f2, s2, path, "-o", "json")
	require.Error(t, err)
	requireSchema(t, "node-plan.json", out)
	require.NotNil(t, s)
}

// everything is a node whose status has every field.
func everything() *v1alpha1.SeiNode {
	n := runs()
	at, micro := metav1.NewTime(now), metav1.NewMicroTime(now)
	n.Spec.Image = "registry.example/seid:v2"
	n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: v1alpha1.SidecarTLSConfig{IssuerName: "ca"}, FingerprintSHA256: "ab", NotAfter: &at}
	n.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDrift, Message: "m"}}
	n.Status.Plan = &v1alpha1.Plan{ID: "id", Kind: v1alpha1.NodeUpdate, Causes: []v1alpha1.PlanCause{v1alpha1.ImageDrift}, Phase: v1alpha1.PlanActive,
		Target: v1alpha1.PlanTarget{Image: n.Spec.Image}, StartedAt: micro, Tasks: []v1alpha1.Task{{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning}}}
	n.Status.LastPlan = &v1alpha1.PlanSummary{ID: "id", Kind: v1alpha1.NodeRollback, Outcome: v1alpha1.PlanFailed, StartedAt: micro, FinishedAt: micro,
		PodCycle: &metav1.Duration{Duration: time.Second}, FailedTask: v1alpha1.TaskReplacePod, Detail: "d"}
	n.Status.Hold = &v1alpha1.Hold{Reason: "r", Since: at}
	return n
}

func TestStatusFitsItsSchema(t *testing.T) {
	bare := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "new"},
		Spec: v1alpha1.SeiNodeSpec{ChainID: "c", Image: "i", Archive: &v1alpha1.ArchiveSpec{}}}
	list := documentList{Items: []Document{}}
	for _, n := range []*v1alpha1.SeiNode{bare, runs(), everything()} {
		list.Items = append(list.Items, statusDocument(n, now))
	}
	requireSchema(t, "node-status.json", asDocument(t, list))
}

func TestExplainFitsItsSchema(t *testing.T) {
	list := explainedList{Items: []explained{}}
	for _, n := range []*v1alpha1.SeiNode{runs(), everything()} {
		facts := &explain.Facts{Now: now, Node: n, Snapshot: &drift.Snapshot{}}
		list.Items = append(list.Items, explained{
			Node:        preview.Node{Namespace: n.Namespace, Name: n.Name, ChainID: n.Spec.ChainID, Mode: n.Mode()},
			Explanation: explain.Explain(facts),
		})
	}
	document := asDocument(t, list)
	requireSchema(t, "node-explain.json", document)
	require.Contains(t, document, `"code": "TaskWait"`)
}

func TestVerifyFitsItsSchema(t *testing.T) {
	v := Verification{Node: preview.Node{Mode: "archive"}, Checks: []Check{}, Warnings: []string{"w"}, Leaf: &Leaf{DNSNames: []string{"x"}, NotBefore: now, NotAfter: now}}
	v.check("secret", false, "x")
	requireSchema(t, "node-verify.json", asDocument(t, verificationList{Items: []Verification{v, {Node: v.Node, Checks: []Check{}, Warnings: []string{}}}}))
}

// A schema that lets anything through would prove nothing.
func TestSchemasAreStrict(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "docs", "schemas", "node-*.json"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		var schema any
		require.NoError(t, json.Unmarshal(data, &schema))
		strict(t, f, schema)
	}
}

func strict(t *testing.T, where string, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if v["type"] == "object" {
			require.Equal(t, false, v["additionalProperties"], where)
			require.NotEmpty(t, v["required"], where)
		}
		for k, inner := range v {
			strict(t, where+"/"+k, inner)
		}
	case []any:
		for _, inner := range v {
			strict(t, where, inner)
		}
	}
}
