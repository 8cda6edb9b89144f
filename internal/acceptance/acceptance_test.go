// Package acceptance names, point by point, what the first version of TLS on running nodes had to do. Most points are
// tested in depth elsewhere; here each has a test of its own name, or the name of the test that shows it.
package acceptance

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/config"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/tasks"
)

// node runs v1 without TLS.
func node(change func(*v1alpha1.SeiNode)) *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0", UID: "uid", Generation: 2},
		Spec:       v1alpha1.SeiNodeSpec{ChainID: "pacific-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{}},
		Status:     v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1"},
	}
	change(n)
	return n
}

func withTLS(n *v1alpha1.SeiNode) {
	n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "pacific-1-ca"}}
}

func withImage(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" }

// planOf is the plan of a node that is as its status says; nil when nothing is due.
func planOf(n *v1alpha1.SeiNode) *v1alpha1.Plan {
	s := settings.Default()
	s.SidecarImage = "sidecar:v1"
	in := plan.Input{Node: n, Settings: &s, Now: time.Unix(1e9, 0), ID: "p"}
	in.Drift = drift.Evaluate(drift.Input{Node: n, Settings: &s})
	return plan.BuildRunningPlan(in)
}

func taskTypes(p *v1alpha1.Plan) (out []v1alpha1.TaskType) {
	for _, t := range p.Tasks {
		out = append(out, t.Type)
	}
	return out
}

func field(t *testing.T, path ...string) map[string]any {
	t.Helper()
	crds, err := config.CRDs()
	require.NoError(t, err)
	i := slices.IndexFunc(crds, func(u *unstructured.Unstructured) bool { return u.GetName() == "seinodes.sei.io" })
	require.GreaterOrEqual(t, i, 0)
	versions, _, err := unstructured.NestedSlice(crds[i].Object, "spec", "versions")
	require.NoError(t, err)
	schema := versions[0].(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
	for _, name := range path {
		next, ok := schema["properties"].(map[string]any)[name].(map[string]any)
		require.True(t, ok, "the CRD has no field %s of %v", name, path)
		schema = next
	}
	return schema
}

// The CRD that is installed has the status field; that it is the generated one, `make verify` checks.
func TestStatusFieldIsInTheCRD(t *testing.T) {
	field(t, "status", "currentSidecarTLS", "fingerprintSHA256")
	field(t, "spec", "sidecar", "tls", "issuerName")
}

func TestDocCommentSaysThatAnEditRollsTheNode(t *testing.T) {
	text := field(t, "spec", "sidecar", "tls")["description"].(string)
	require.Contains(t, text, "Running")
	require.NotContains(t, strings.ToLower(text), "init-only")
}

func TestDriftFlagsFeedOneNodeUpdatePlan(t *testing.T) {
	p := planOf(node(func(n *v1alpha1.SeiNode) { withTLS(n); withImage(n) }))
	require.Equal(t, v1alpha1.NodeUpdate, p.Kind)
	require.ElementsMatch(t, []v1alpha1.PlanCause{v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift}, p.Causes)
	require.Equal(t, 1, plan.PodCycles(p))
}

func TestNilSpecIsNoTLSDrift(t *testing.T) {
	require.Nil(t, planOf(node(func(*v1alpha1.SeiNode) {})))
	require.Nil(t, planOf(node(func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = &v1alpha1.SidecarConfig{} })))
}

func TestPreTasksAndObserversAreConditional(t *testing.T) {
	tls := []v1alpha1.TaskType{v1alpha1.TaskApplySidecarCert, v1alpha1.TaskWaitForSidecarTLSSecret, v1alpha1.TaskApplyRBACProxyConfig,
		v1alpha1.TaskObserveSidecarTLS}
	image := taskTypes(planOf(node(withImage)))
	require.Contains(t, image, v1alpha1.TaskObserveImage)
	toggle := taskTypes(planOf(node(withTLS)))
	require.NotContains(t, toggle, v1alpha1.TaskObserveImage)
	for _, task := range tls {
		require.NotContains(t, image, task)
		require.Contains(t, toggle, task)
	}
}

func TestThreeReasons(t *testing.T) {
	for reason, change := range map[string]func(*v1alpha1.SeiNode){
		v1alpha1.ReasonUpdateStarted:             withImage,
		v1alpha1.ReasonTLSToggleStarted:          withTLS,
		v1alpha1.ReasonUpdateAndTLSToggleStarted: func(n *v1alpha1.SeiNode) { withTLS(n); withImage(n) },
	} {
		require.Equal(t, reason, plan.NodeUpdateReason(planOf(node(change)).Causes))
	}
}

func TestBothNewTasksAreRegistered(t *testing.T) {
	require.True(t, tasks.Registered(v1alpha1.TaskWaitForSidecarTLSSecret))
	require.True(t, tasks.Registered(v1alpha1.TaskObserveSidecarTLS))
}

func TestPlanClassificationIsAMetricsLabel(t *testing.T) {
	for class, change := range map[string]func(*v1alpha1.SeiNode){
		plan.ClassNodeUpdate:    withImage,
		plan.ClassTLSToggle:     withTLS,
		plan.ClassNodeUpdateTLS: func(n *v1alpha1.SeiNode) { withTLS(n); withImage(n) },
	} {
		p := planOf(node(change))
		require.Equal(t, class, plan.Classify(p.Kind, p.Causes))
	}
}

// The points that take an engine, an API server or a kubelet are shown by these tests.
func TestElsewhere(t *testing.T) {
	for point, test := range map[string][2]string{
		"wait semantics":                           {"pkg/tasks", "func TestWaitForSidecarTLSSecret("},
		"observe semantics":                        {"pkg/tasks", "func TestObserveSidecarTLS("},
		"one optimistic status patch a pass":       {"pkg/engine", "func TestPassPatchesOnce("},
		"a conflict is not written over":           {"pkg/engine", "func TestConflictSurfaces("},
		"the label is on the plans' metrics":       {"pkg/operator", "func TestMetricsOfPlansThatEnded("},
		"on :8443 end to end, no-ops afterwards":   {"e2e", `"apply-again"`},
		"by the operator, no-ops afterwards":       {"e2e", `"operator-enable"`},
		"generated files are those of the sources": {"hack", "generated()"},
	} {
		t.Run(point, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("..", "..", test[0], "*"))
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(files, func(f string) bool {
				data, err := os.ReadFile(f)
				return err == nil && regexp.MustCompile(regexp.QuoteMeta(test[1])).Match(data)
			}), "no %s in %s", test[1], test[0])
		})
	}
}
