package fleet

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

var update = flag.Bool("update", false, "write the golden files")

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "go test ./internal/cli/fleet -update")
}

func seiNode(name string, edits ...func(*v1alpha1.SeiNode)) *v1alpha1.SeiNode {
	first := metav1.NewTime(at.Add(-time.Hour))
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "fleet"},
		Spec:       v1alpha1.SeiNodeSpec{ChainID: "pacific-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{}},
		Status: v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1", FirstReadyAt: &first,
			LastPlan: &v1alpha1.PlanSummary{Outcome: v1alpha1.PlanComplete, PodCycle: &metav1.Duration{Duration: 90 * time.Second}}},
	}
	for _, e := range edits {
		e(n)
	}
	return n
}

// mixed is a fleet with everything in it.
func mixed() fleet.Input {
	width := intstr.FromInt32(1)
	d := &v1alpha1.SeiNodeDeployment{ObjectMeta: metav1.ObjectMeta{Name: "syncer", Namespace: "fleet", UID: "u"}}
	d.Spec = v1alpha1.SeiNodeDeploymentSpec{Replicas: 3, UpdateStrategy: v1alpha1.UpdateStrategy{MaxUnavailable: &width}}
	d.Spec.Template.Spec = seiNode("x").Spec
	child := func(n *v1alpha1.SeiNode) {
		n.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, v1alpha1.GroupVersion.WithKind("SeiNodeDeployment"))}
	}
	s := settings.Default()
	s.Budgets.MaxUnavailablePerChain = intstr.FromInt32(2)
	return fleet.Input{
		Selection: fleet.Selection{Chain: "pacific-1"}, Deployments: []*v1alpha1.SeiNodeDeployment{d}, Settings: s, Now: at,
		Nodes: []*v1alpha1.SeiNode{
			seiNode("ax-0"), seiNode("ax-1", func(n *v1alpha1.SeiNode) {
				n.Spec.FullNode, n.Spec.Archive = nil, &v1alpha1.ArchiveSpec{}
				n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "old-ca"}}
				n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: v1alpha1.SidecarTLSConfig{IssuerName: "old-ca"}}
			}),
			seiNode("argo-0", func(n *v1alpha1.SeiNode) {
				n.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "sei:sei.io/SeiNode:fleet/argo-0"}
			}),
			seiNode("paused-0", func(n *v1alpha1.SeiNode) { n.Spec.Paused = true }),
			seiNode("val-0", func(n *v1alpha1.SeiNode) { n.Spec.FullNode, n.Spec.Validator = nil, &v1alpha1.ValidatorSpec{} }),
			seiNode("syncer-0", child), seiNode("syncer-1", child), seiNode("syncer-2", child),
		},
		Goal:     fleet.Goal{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "pacific-1-ca", IssuerKind: "ClusterIssuer"}},
		Strategy: fleet.Strategy{Canary: 1, Bake: 30 * time.Minute, MaxUnavailable: intstr.FromInt32(3), GateTimeout: time.Minute},
	}
}

// checks are those of a preflight, one of each result.
var checks = []preflight.Line{
	{Check: "issuer-ready", Result: preflight.Failed, Message: "ClusterIssuer pacific-1-ca is not Ready: ErrGetKeyPair: secret not found",
		Hint: "kubectl describe clusterissuer pacific-1-ca"},
	{Check: "node-service-account", Result: preflight.OK, Message: "ServiceAccount seid-node exists"},
	{Check: "client-account", Result: preflight.Skipped, Message: "cannot tell: whether ServiceAccount sei-system/seictl-client exists: no"},
	{Check: "operator", Result: preflight.Warning, Message: "no operator is installed: the rollout drives, and a pod that is rescheduled later " +
		"waits for somebody's mark-ready", Hint: "seictl install operator --image IMAGE --apply"},
}

func TestPlanText(t *testing.T) {
	p, _, err := fleet.Build(mixed())
	require.NoError(t, err)
	var out bytes.Buffer
	planText(ui.NewPrinter(&out, false, 120), p, checks)
	golden(t, "plan.golden", out.String())
}

func TestTotalText(t *testing.T) {
	seconds := func(s float64) *float64 { return &s }
	reload := fleet.Plan{
		Nodes:    []fleet.NodePlan{{Need: fleet.NeedReload}, {Need: fleet.NeedReload}},
		Waves:    []fleet.WavePlan{{Nodes: []string{"a"}}, {Nodes: []string{"b"}}},
		Strategy: fleet.StrategyPlan{Width: 5},
	}
	require.Equal(t, "2 nodes: 2 to change in 2 waves, no pod is restarted, at most 1 at once", totalText(&reload))
	reload.ExpectedSeconds, reload.ReloadSeconds = seconds(60), seconds(30)
	require.Equal(t, "2 nodes: 2 to change in 2 waves, no pod is restarted, at most 1 at once, about 1m (another certificate takes 30s in this fleet)",
		totalText(&reload))
	reload.Restarts, reload.ExpectedSeconds = 1, nil
	require.Contains(t, totalText(&reload), "1 restart, at most 1 at once, duration unknown")
}

// A rollout as a pipe gets it, and as a program does.
func TestProgress(t *testing.T) {
	for _, format := range []string{output.Table, output.JSON} {
		_, r, err := fleet.Build(mixed())
		require.NoError(t, err)
		r.Name, r.Action, r.Who = "rollout-pacific-1-20260301-120000", actionEnable, "alice on laptop"
		var out, errOut bytes.Buffer
		f := factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
		clock := at
		f.Now = func() time.Time { return clock }
		o := output.NewFormat(output.JSON)
		require.NoError(t, o.Set(format))
		report := newReporter(f, &o)
		report.start(r, "rollout")
		step := func(edit func(*fleet.Record)) {
			clock = clock.Add(10 * time.Second)
			next := r.Clone()
			edit(next)
			report.progress(r, next)
			r = next
		}
		start := clock
		step(func(r *fleet.Record) { r.Nodes[0].Outcome, r.Nodes[0].StartedAt = fleet.Started, &start })
		step(func(r *fleet.Record) { r.Nodes[0].Detail = "NodeUpdate, task 2/8 wait-for-sidecar-tls-secret" })
		step(func(r *fleet.Record) {
			r.Nodes[0].Outcome, r.Nodes[0].Detail = fleet.Verifying, "the height of seid has not moved yet (12)"
		})
		step(func(r *fleet.Record) { r.Nodes[0].Detail = "the height of seid has not moved yet (13)" })
		require.Contains(t, fmt.Sprint(viewLines(r, clock, 40*time.Second)), "canary    fleet/ax-0  verifying  40s")
		step(func(r *fleet.Record) { r.Nodes[0].Outcome, r.Nodes[0].Detail, r.BakeFrom = fleet.Done, "", &start })
		step(func(r *fleet.Record) { r.Nodes[1].Outcome, r.Nodes[1].Detail = fleet.NodeFailed, "the issuer is gone" })
		step(func(r *fleet.Record) { r.State, r.Reason = fleet.Failed, "1 node failed, and --max-failures is 0" })
		s := &session{Factory: f, output: &o}
		err = s.finish(&runner{Factory: f, report: report, entry: &entry{record: r}}, nil)
		require.Error(t, err)
		if format == output.Table {
			golden(t, "progress.golden", errOut.String()+"-- standard output\n"+out.String()+"-- error\n"+err.Error()+"\n")
			continue
		}
		require.Empty(t, errOut.String(), "nothing but JSON")
		lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
		for i, line := range lines {
			var e Event
			require.NoError(t, json.Unmarshal(line, &e))
			require.Equal(t, i == 0, e.Version == EventsVersion)
		}
		var end Event
		require.NoError(t, json.Unmarshal(lines[len(lines)-1], &end))
		require.Equal(t, 4, *end.ExitCode)
		require.Equal(t, "fix the cause, then seictl fleet resume --chain pacific-1, or go back with seictl fleet undo --chain pacific-1", end.Next)
	}
}

func TestStrategyFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		err  string
	}{
		"defaults":           {nil, ""},
		"percent":            {[]string{"--max-unavailable", "10%"}, ""},
		"no number":          {[]string{"--max-unavailable", "many"}, `--max-unavailable: found "many"`},
		"none":               {[]string{"--max-unavailable", "0"}, "at least 1"},
		"too many percent":   {[]string{"--max-unavailable", "200%"}, "percentage such as 10%"},
		"bake, no canary":    {[]string{"--canary", "0", "--bake", "1m"}, "it needs --canary"},
		"unknown on-failure": {[]string{"--on-failure", "stop"}, "wanted pause or continue"},
		"two failure rules":  {[]string{"--on-failure", "continue", "--max-failures", "3"}, "leave --max-failures out"},
		"negative":           {[]string{"--canary", "-1"}, "--canary: found -1"},
	} {
		t.Run(name, func(t *testing.T) {
			var s StrategyFlags
			fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
			s.AddFlags(fs)
			require.NoError(t, fs.Parse(tc.args))
			_, err := s.Strategy("pacific-1", settings.Default())
			if tc.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.err)
		})
	}
}

func TestCommandLineHidesSecrets(t *testing.T) {
	require.Equal(t, "seictl fleet enable-tls --token … --password=… -l 'a b'",
		commandLine([]string{"fleet", "enable-tls", "--token", "s3cret", "--password=x", "-l", "a b"}))
}
