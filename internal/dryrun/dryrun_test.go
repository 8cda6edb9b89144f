package dryrun

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/tasks"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testSettings() settings.Settings {
	s := settings.Default()
	s.SidecarImage = "registry.example/sidecar:v1"
	return s
}

// testNode runs image v1 with the current TLS and wants the other.
func testNode(current, want *v1alpha1.SidecarTLSConfig) *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0", UID: "node-uid", Annotations: map[string]string{}},
		Spec: v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "registry.example/seid:v1", FullNode: &v1alpha1.FullNodeSpec{},
			Sidecar: &v1alpha1.SidecarConfig{TLS: want}},
		Status: v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: "registry.example/seid:v1",
			LastPlan: &v1alpha1.PlanSummary{PodCycle: &metav1.Duration{Duration: 41 * time.Second}}},
	}
	if current != nil {
		n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *current.Normalize()}
	}
	if want == nil {
		n.Annotations[v1alpha1.AnnotationAllowTLSRemoval] = "true"
	}
	return n
}

var issuer = &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"}

// planOf is the plan that is due.
func planOf(t *testing.T, n *v1alpha1.SeiNode) *v1alpha1.Plan {
	t.Helper()
	s := testSettings()
	p := plan.BuildRunningPlan(plan.Input{
		Node: n, Drift: drift.Evaluate(drift.Input{Node: n, Settings: &s}), Settings: &s, Now: now,
		ID: "6a6f7c1e-0000-4000-8000-00000000000a",
	})
	require.NotNil(t, p)
	return p
}

// cluster holds what a node with the current TLS has, as the engine applied it.
func cluster(t *testing.T, n *v1alpha1.SeiNode, funcs interceptor.Funcs, more ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, cmv1.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithObjects(more...).Build()
	if n.Status.CurrentImage != "" {
		current := v1alpha1.PlanTarget{Image: n.Status.CurrentImage, SidecarTLS: n.Status.CurrentSidecarTLS.Config()}
		template, service := resources.NodeTemplateFor(n, current, testSettings()), resources.ServiceParamsFor(n, current)
		applied := map[v1alpha1.TaskType]v1alpha1.TaskParams{
			v1alpha1.TaskApplyStatefulSet: {StatefulSet: &v1alpha1.StatefulSetParams{Template: &template}},
			v1alpha1.TaskApplyService:     {Service: &service},
		}
		if current.SidecarTLS != nil {
			config, cert := resources.RBACProxyConfigParamsFor(n), resources.SidecarCertParamsFor(n, current.SidecarTLS, testSettings())
			applied[v1alpha1.TaskApplyRBACProxyConfig] = v1alpha1.TaskParams{RBACProxyConfig: &config}
			applied[v1alpha1.TaskApplySidecarCert] = v1alpha1.TaskParams{SidecarCert: &cert}
		}
		for typ, params := range applied {
			task := &v1alpha1.Task{Type: typ, Params: params}
			_, err := tasks.Run(t.Context(), &tasks.Env{Client: c, Live: c}, tasks.Input{Node: n, Plan: &v1alpha1.Plan{}, Task: task})
			require.NoError(t, err)
		}
	}
	return interceptor.NewClient(c, funcs)
}

func withPod(n *v1alpha1.SeiNode) *drift.Snapshot {
	return &drift.Snapshot{
		StatefulSet: &appsv1.StatefulSet{Status: appsv1.StatefulSetStatus{UpdateRevision: "r1"}},
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: resources.PodName(n.Name),
			Labels: map[string]string{appsv1.StatefulSetRevisionLabel: "r1"}}},
	}
}

func transcript(objects []Object) string {
	var b strings.Builder
	for _, o := range objects {
		b.WriteString(o.Action + " " + o.Kind + " " + o.Name + "\n")
		for _, line := range strings.Split(o.Diff, "\n") {
			if line != "" {
				b.WriteString("  " + line + "\n")
			}
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// denied refuses every write, as the API server does for whoever may only read.
func denied() interceptor.Funcs {
	no := apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "x", nil)
	return interceptor.Funcs{
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return no
		},
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return no
		},
	}
}

// The same lines come from the API server and from the client: only the second says so.
func TestObjects(t *testing.T) {
	swap := &v1alpha1.SidecarTLSConfig{IssuerName: "pacific-1-ca"}
	for name, c := range map[string]struct{ current, want *v1alpha1.SidecarTLSConfig }{
		"off-to-issuer": {nil, issuer},
		"issuer-to-off": {issuer, nil},
		"issuer-swap":   {issuer, swap},
	} {
		for side, funcs := range map[string]interceptor.Funcs{"server": {}, "client": denied()} {
			t.Run(name+"/"+side, func(t *testing.T) {
				n := testNode(c.current, c.want)
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0-sidecar-tls",
					Annotations: map[string]string{cmv1.CertificateNameKey: "ax-0-sidecar-tls"}}}
				objects, err := Objects(t.Context(), Input{
					Node: n, Plan: planOf(t, n), Snapshot: withPod(n), Settings: testSettings(), Client: cluster(t, n, funcs, secret),
				})
				require.NoError(t, err)
				golden(t, name, transcript(objects))
				for _, o := range objects {
					if o.Action == Create || o.Action == Update {
						require.Equal(t, side == "client", o.ClientSide, o.Kind)
					}
				}
			})
		}
	}
}

func TestObjectsOfANewNode(t *testing.T) {
	n := testNode(nil, issuer)
	n.UID, n.Status = "", v1alpha1.SeiNodeStatus{}
	s := testSettings()
	p := plan.BuildNodeInitPlan(plan.Input{Node: n, Drift: drift.Evaluate(drift.Input{Node: n, Settings: &s}), Settings: &s, Now: now,
		ID: "6a6f7c1e-0000-4000-8000-00000000000a"})
	c := cluster(t, n, interceptor.Funcs{})
	objects, err := Objects(t.Context(), Input{Node: n, Plan: p, Settings: s, Client: c})
	require.NoError(t, err)
	golden(t, "init", transcript(objects))
	var all corev1.PersistentVolumeClaimList
	require.NoError(t, c.List(t.Context(), &all))
	require.Empty(t, all.Items, "nothing was stored")
}

func TestObjectsFull(t *testing.T) {
	n := testNode(nil, issuer)
	objects, err := Objects(t.Context(), Input{Node: n, Plan: planOf(t, n), Settings: testSettings(),
		Client: cluster(t, n, interceptor.Funcs{}), Full: true})
	require.NoError(t, err)
	for _, o := range objects {
		if o.Kind == "Service" {
			require.Contains(t, o.Diff, "--- live\n+++ planned\n")
			require.Contains(t, o.Diff, "+  - name: sidecar-tls")
			require.NotContains(t, o.Diff, "managedFields")
		}
	}
}

func TestAForeignObjectIsRefusedAndHidesNothing(t *testing.T) {
	n := testNode(nil, issuer)
	theirs := &cmv1.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0-sidecar-tls"}}
	objects, err := Objects(t.Context(), Input{Node: n, Plan: planOf(t, n), Settings: testSettings(),
		Client: cluster(t, n, interceptor.Funcs{}, theirs)})
	require.NoError(t, err)
	require.Equal(t, Refused, objects[0].Action)
	require.Contains(t, objects[0].Diff, "is not this node's")
	require.Equal(t, "ConfigMap", objects[1].Kind)
	require.Equal(t, Create, objects[1].Action)
}

func TestTasksThatRanAreNotPreviewed(t *testing.T) {
	n := testNode(nil, issuer)
	p := planOf(t, n)
	for i := range p.Tasks {
		p.Tasks[i].Status = v1alpha1.TaskComplete
	}
	objects, err := Objects(t.Context(), Input{Node: n, Plan: p, Settings: testSettings(), Client: cluster(t, n, interceptor.Funcs{})})
	require.NoError(t, err)
	require.Empty(t, objects)
}

// An edit that is taken back before the pod was replaced: the template returns, and the pod stays.
func TestAPodOfTheRevisionReturnedToIsNotReplaced(t *testing.T) {
	n := testNode(nil, issuer)
	s := withPod(n)
	for revision, replaced := range map[string]bool{s.PodRevision(): false, "another": true} {
		p := planOf(t, n)
		p.Task(v1alpha1.TaskApplyStatefulSet).Params.StatefulSet = &v1alpha1.StatefulSetParams{FromRevision: revision}
		r := &run{Input: Input{Node: n, Plan: p, Snapshot: s}, template: []change{{path: []step{{field: "spec"}, {field: "template"}}, to: "x"}}}
		require.Equal(t, replaced, len(r.pod()) == 1, revision)
	}
}

func TestOverlayKeepsWhatOthersWrote(t *testing.T) {
	live := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"a": "ours", "b": "theirs",
		"containers": []any{
			map[string]any{"name": "seid", "image": "v1", "env": []any{
				map[string]any{"name": "OLD", "value": "1"}, map[string]any{"name": "THEIRS", "value": "1"},
			}},
			map[string]any{"name": "agent"},
			map[string]any{"name": "proxy"},
		},
	}}}
	live.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: tasks.FieldManager, Operation: metav1.ManagedFieldsOperationApply,
		FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:a":{},"f:containers":{
			"k:{\"name\":\"seid\"}":{".":{},"f:image":{},"f:env":{"k:{\"name\":\"OLD\"}":{".":{},"f:name":{},"f:value":{}}}},
			"k:{\"name\":\"proxy\"}":{".":{},"f:name":{}}}}}`)}})
	rendered := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": "seid", "image": "v2", "env": []any{map[string]any{"name": "NEW"}}}},
	}}}
	out, err := overlay(live, rendered)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"b": "theirs",
		"containers": []any{
			map[string]any{"name": "seid", "image": "v2", "env": []any{
				map[string]any{"name": "NEW"}, map[string]any{"name": "THEIRS", "value": "1"},
			}},
			map[string]any{"name": "agent"},
		},
	}, out.Object["spec"])
}

func TestLines(t *testing.T) {
	for want, c := range map[string]struct{ before, after map[string]any }{
		"~ container seid image: v1 → v2": {
			template("containers", item("seid", "image", "v1")), template("containers", item("seid", "image", "v2"))},
		"+ container proxy (p:v1)": {
			template("initContainers"), template("initContainers", item("proxy", "image", "p:v1", "restartPolicy", "Always"))},
		"- init container x":                    {template("initContainers", item("x", "image", "i")), template("initContainers")},
		"~ container seid env A: 1":             {template("containers", item("seid")), template("containers", item("seid", "env", []any{item("A", "value", "1")}))},
		"~ container seid livenessProbe: added": {template("containers", item("seid")), template("containers", item("seid", "livenessProbe", map[string]any{"httpGet": map[string]any{}}))},
		"~ container seid env A: 1 → 2": {
			template("containers", item("seid", "env", []any{item("A", "value", "1")})),
			template("containers", item("seid", "env", []any{item("A", "value", "2")}))},
		"+ volume tls": {template("volumes"), template("volumes", item("tls"))},
		"~ pod terminationGracePeriodSeconds: 30 → 300": {
			template("terminationGracePeriodSeconds", int64(30)), template("terminationGracePeriodSeconds", int64(300))},
		"~ data config.yaml": {map[string]any{"data": map[string]any{"config.yaml": "a\nb"}}, map[string]any{"data": map[string]any{"config.yaml": "a\nc"}}},
		"+ label x: y":       {map[string]any{"metadata": map[string]any{}}, map[string]any{"metadata": map[string]any{"labels": map[string]any{"x": "y"}}}},
		"~ dnsNames: a → a, b": {map[string]any{"spec": map[string]any{"dnsNames": []any{"a"}}},
			map[string]any{"spec": map[string]any{"dnsNames": []any{"a", "b"}}}},
		"+ port sidecar-tls": {map[string]any{"spec": map[string]any{"ports": []any{}}},
			map[string]any{"spec": map[string]any{"ports": []any{map[string]any{"name": "sidecar-tls", "port": int64(8443)}}}}},
	} {
		t.Run(want, func(t *testing.T) {
			cs := changes(c.before, c.after)
			require.Len(t, cs, 1)
			require.Equal(t, want, cs[0].line())
		})
	}
}

func template(field string, values ...any) map[string]any {
	var v any = values
	if len(values) == 0 {
		v = []any{}
	} else if _, isItem := values[0].(map[string]any); !isItem {
		v = values[0]
	}
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{field: v}}}}
}

func item(name string, fields ...any) map[string]any {
	out := map[string]any{"name": name}
	for i := 0; i+1 < len(fields); i += 2 {
		out[fields[i].(string)] = fields[i+1]
	}
	return out
}
