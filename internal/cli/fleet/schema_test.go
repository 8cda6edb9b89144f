package fleet

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

var schemaFolder = filepath.Join("..", "..", "..", "docs", "schemas")

// schemaError is what a schema of the documentation says against a document.
func schemaError(t *testing.T, name, document string) error {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(filepath.Join(schemaFolder, name))
	require.NoError(t, err)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	require.NoError(t, err, document)
	return schema.Validate(v)
}

func requireSchema(t *testing.T, name, document string) {
	t.Helper()
	require.NoError(t, schemaError(t, name, document), document)
}

func asDocument(t *testing.T, v any) string {
	t.Helper()
	f := output.NewFormat(output.JSON)
	require.NoError(t, f.Set(output.JSON))
	var b bytes.Buffer
	require.NoError(t, f.Write(&b, v))
	return b.String()
}

// requireEvents holds each line of a stream against its schema.
func requireEvents(t *testing.T, stream string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(stream), "\n") {
		requireSchema(t, "fleet-events.json", line)
	}
}

// everything is the record of the mixed fleet with every field set, and every outcome.
func everything(t *testing.T) *fleet.Record {
	t.Helper()
	_, r, err := fleet.Build(mixed())
	require.NoError(t, err)
	later := at.Add(time.Hour)
	r.Name, r.Action, r.Undoes, r.Who, r.Command = "rollout-pacific-1-20260301-120000", actionUndo, "rollout-x", "alice on laptop", "seictl fleet undo"
	r.State, r.Reason, r.By, r.Driver = fleet.Failed, "1 node failed", "bob", "cli/laptop"
	r.EndedAt, r.BakeFrom, r.Baked = &later, &at, true
	r.Selection.Modes, r.Selection.Selector, r.Selection.Namespace = []string{v1alpha1.ModeArchive}, "a=b", "fleet"
	r.Strategy.MaxFailures, r.Strategy.Continue, r.Strategy.IncludeValidators, r.Strategy.ForceManaged = 1, true, true, true
	for i := range r.Objects {
		o := &r.Objects[i]
		o.UID, o.Edited, o.Clean, o.Withheld = "uid", true, true, []int{2}
		o.Found, o.Previous = &v1alpha1.SidecarTLSConfig{SecretName: "own"}, &v1alpha1.SidecarTLSConfig{IssuerName: "old-ca"}
	}
	outcomes := []fleet.Outcome{fleet.Pending, fleet.Started, fleet.Verifying, fleet.Done, fleet.NodeFailed, fleet.Skipped}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		n.UID, n.Outcome, n.Detail, n.Retry, n.Again = "uid", outcomes[(i+1)%len(outcomes)], "why", "x", true
		n.StartedAt, n.AtTargetAt, n.EndedAt, n.Restart = &at, &at, &later, true
		n.Gone, n.WaitsSince, n.FellAt, n.Fell = true, &at, &at, "why"
	}
	for _, v := range []any{r, r.Objects, r.Nodes, r.Strategy, r.Selection} {
		full(t, reflect.ValueOf(v))
	}
	return r
}

// full says that no field is at its zero value: one that is not set cannot be held against a schema.
func full(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		full(t, v.Elem())
	case reflect.Slice:
		for f := range v.Type().Elem().Fields() {
			set := false
			for i := range v.Len() {
				set = set || !v.Index(i).FieldByIndex(f.Index).IsZero()
			}
			require.True(t, set, "%s.%s is never set", v.Type().Elem(), f.Name)
		}
	case reflect.Struct:
		for f := range v.Type().Fields() {
			require.False(t, v.FieldByIndex(f.Index).IsZero(), "%s.%s is not set", v.Type(), f.Name)
		}
	}
}

// stored is a record as the cluster has it, driven by nobody.
func stored(t *testing.T, r *fleet.Record) *corev1.ConfigMap {
	t.Helper()
	r = r.Clone()
	r.Driver = ""
	data, err := r.Encode()
	require.NoError(t, err)
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: r.Name, Labels: labels(r)},
		Data: map[string]string{recordKey: data}}
}

func TestPlanFitsItsSchema(t *testing.T) {
	p, _, err := fleet.Build(mixed())
	require.NoError(t, err)
	requireSchema(t, "fleet-plan.json", asDocument(t, planDocument{Plan: p, Preflight: checks}))
	undo := mixed()
	undo.Goal = fleet.Goal{Each: map[fleet.Object]*v1alpha1.SidecarTLSConfig{}}
	p, _, err = fleet.Build(undo)
	require.NoError(t, err)
	requireSchema(t, "fleet-plan.json", asDocument(t, planDocument{Plan: p, Preflight: []preflight.Line{}}))
	// As the command writes it, with the preflight of a cluster.
	for _, args := range [][]string{{"plan"}, {"enable-tls", "--dry-run"}} {
		f, out, _, _ := pretend(t, interceptor.Funcs{}, append(platform(), seiNode("ax-0"), seiNode("ax-1"))...)
		require.NoError(t, run(t, f, append(args, "--chain", "pacific-1", "--issuer", "pacific-1-ca", "-o", output.JSON)...))
		requireSchema(t, "fleet-plan.json", out.String())
		require.Contains(t, out.String(), `"result": "failed"`)
	}
}

func TestStatusAndHistoryFitTheirSchemas(t *testing.T) {
	r := everything(t)
	_, fresh, err := fleet.Build(mixed())
	require.NoError(t, err)
	fresh.Action = actionEnable
	in := mixed()
	for _, doc := range []statusDocument{
		{Rollout: r, Counts: r.Count(), Causes: r.Causes(), TLS: tlsOf(in.Nodes, "pacific-1")},
		{Counts: map[fleet.Outcome]int{}, Causes: []fleet.Cause{}, TLS: map[string]int{}},
	} {
		requireSchema(t, "fleet-status.json", asDocument(t, doc))
	}
	requireSchema(t, "fleet-history.json", asDocument(t, map[string]any{"items": []*fleet.Record{r, fresh}}))
	f, out, _, _ := pretend(t, interceptor.Funcs{}, append(platform(), seiNode("ax-0"), stored(t, r))...)
	require.NoError(t, run(t, f, "status", r.Name, "-o", output.JSON))
	requireSchema(t, "fleet-status.json", out.String())
	out.Reset()
	require.NoError(t, run(t, f, "history", "-o", output.JSON))
	requireSchema(t, "fleet-history.json", out.String())
	require.Contains(t, out.String(), r.Name)
	out.Reset()
	require.NoError(t, run(t, f, "status", "--chain", "arctic-1", "-o", output.JSON))
	requireSchema(t, "fleet-status.json", out.String())
	require.Contains(t, out.String(), `"rollout": null`)
}

func TestEventsFitTheirSchema(t *testing.T) {
	r := everything(t)
	f := factory.New(genericiooptions.NewTestIOStreamsDiscard())
	var out bytes.Buffer
	f.Out, f.Now = &out, func() time.Time { return at }
	o := output.NewFormat(output.JSON)
	require.NoError(t, o.Set(output.JSON))
	s := &session{Factory: f, output: &o, stream: &stream{out: &out}}
	report := s.reporter()
	report.say("a notice")
	report.start(r, "going on with")
	_, before, err := fleet.Build(mixed())
	require.NoError(t, err)
	before.Strategy = r.Strategy
	report.progress(before, r)
	require.Error(t, s.finish(&runner{Factory: f, report: report, entry: &entry{record: r}}, nil))
	requireEvents(t, out.String())
	for _, kind := range []string{eventRollout, eventWave, eventNode, eventState, eventNotice, eventEnd} {
		require.Contains(t, out.String(), `"type":"`+kind+`"`)
	}
	data, err := json.Marshal(Event{Type: eventEnd, Time: at})
	require.NoError(t, err)
	require.Error(t, schemaError(t, "fleet-events.json", string(data)), "an end without an exit code")
}

// A schema that lets anything through would prove nothing; and what several schemas have is the same in all of them.
func TestSchemasAreStrict(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(schemaFolder, "fleet-*.json"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	shared := map[string]any{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var schema map[string]any
		require.NoError(t, json.Unmarshal(data, &schema))
		strict(t, file, schema)
		for name, def := range schema["$defs"].(map[string]any) {
			if ofRecord := strings.Contains(file, "status") || strings.Contains(file, "history"); !ofRecord &&
				slices.Contains([]string{"rollout", "wave", "object", "node"}, name) {
				continue // the plan or the event of something is not its record
			}
			if other, ok := shared[name]; ok {
				require.Equal(t, other, def, "%s: %s", file, name)
			}
			shared[name] = def
		}
	}
}

func strict(t *testing.T, where string, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if v["type"] == "object" {
			// Counts by name have no fixed fields: names and values are checked instead.
			names, named := v["propertyNames"].(map[string]any)
			require.True(t, v["additionalProperties"] == false && (v["required"] != nil || v["anyOf"] != nil) || named && names != nil, where)
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
