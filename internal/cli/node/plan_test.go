package node

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/preview"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// planCase is one offline plan. spec and current are TLS as flow YAML; empty is off.
type planCase struct {
	name          string
	spec, current string
	image         string // of the spec; v1 runs
	paused        bool
	consent       bool
	noStatus      bool
	flags         []string

	tasks     string // in order, short names
	reason    string
	podCycles int
	code      int // detailed
}

const (
	issuerA = "{issuerName: ca-a}"
	issuerB = "{issuerName: ca-b, issuerKind: Issuer}"
	secretA = "{secretName: tls-a}"
	secretB = "{secretName: tls-b}"

	toggle = "TLSToggleStarted"
	both   = "UpdateAndTLSToggleStarted"
	image  = "UpdateStarted"

	middle = "apply-statefulset apply-service replace-pod "
	gate   = "wait-for-sidecar-tls-secret apply-rbac-proxy-config "
)

// transitions is the table of design section 5, every row alone and beside an image update.
var transitions = []planCase{
	{name: "off-to-issuer", spec: issuerA, tasks: "apply-sidecar-cert " + gate + middle + "observe-sidecar-tls mark-ready", podCycles: 1},
	{name: "off-to-secret", spec: secretA, tasks: gate + middle + "observe-sidecar-tls mark-ready", podCycles: 1},
	{name: "issuer-to-issuer", spec: issuerB, current: issuerA, tasks: "apply-sidecar-cert wait-for-sidecar-tls-secret observe-sidecar-tls"},
	{name: "issuer-to-secret", spec: secretA, current: issuerA, tasks: gate + middle + "observe-sidecar-tls mark-ready delete-sidecar-cert", podCycles: 1},
	{name: "secret-to-issuer", spec: issuerA, current: secretA, tasks: "apply-sidecar-cert " + gate + middle + "observe-sidecar-tls mark-ready", podCycles: 1},
	{name: "secret-to-secret", spec: secretB, current: secretA, tasks: gate + middle + "observe-sidecar-tls mark-ready", podCycles: 1},
	{name: "issuer-to-off", current: issuerA, consent: true, tasks: middle + "observe-sidecar-tls mark-ready delete-rbac-proxy-config delete-sidecar-cert", podCycles: 1},
	{name: "secret-to-off", current: secretA, consent: true, tasks: middle + "observe-sidecar-tls mark-ready delete-rbac-proxy-config", podCycles: 1},
}

func withImage(in []planCase) []planCase {
	var out []planCase
	for _, c := range in {
		c.name, c.image, c.podCycles, c.reason = "image-and-"+c.name, "v2", 1, both
		if !strings.Contains(c.tasks, "apply-statefulset") {
			c.tasks = "apply-sidecar-cert " + gate + middle + "observe-sidecar-tls mark-ready"
		}
		c.tasks = strings.Replace(c.tasks, "replace-pod ", "replace-pod observe-image ", 1)
		out = append(out, c)
	}
	return out
}

var otherCases = []planCase{
	{name: "no-drift", spec: issuerA, current: issuerA},
	{name: "no-drift-off"},
	{name: "defaulted-issuer-kind", spec: "{issuerName: ca-a, issuerKind: ClusterIssuer}", current: issuerA},
	{name: "image-only", image: "v2", reason: image, tasks: middle + "observe-image mark-ready", podCycles: 1},
	{name: "paused", spec: issuerA, paused: true, code: exit.Paused},
	{name: "removal-without-consent", current: issuerA},
	{name: "removal-without-consent-and-image", current: issuerA, image: "v2", reason: image, tasks: middle + "observe-image mark-ready", podCycles: 1},
	{name: "flag-no-tls", spec: issuerA, current: issuerA, flags: []string{"--no-tls"}, reason: toggle,
		tasks: middle + "observe-sidecar-tls mark-ready delete-rbac-proxy-config delete-sidecar-cert", podCycles: 1},
	{name: "flag-tls-secret", flags: []string{"--tls", "--secret", "tls-a"}, reason: toggle,
		tasks: gate + middle + "observe-sidecar-tls mark-ready", podCycles: 1},
	{name: "init", spec: issuerA, noStatus: true,
		tasks: "ensure-data-pvc apply-sidecar-cert " + gate + middle + "observe-image observe-sidecar-tls config-apply config-validate mark-ready"},
}

func allPlanCases() []planCase {
	all := slices.Clone(transitions)
	for i := range all {
		all[i].reason = toggle
	}
	all = slices.Concat(all, withImage(transitions), otherCases)
	for i := range all {
		if all[i].tasks != "" {
			all[i].code = exit.Pending
		}
	}
	return all
}

func (c planCase) manifest() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: sei.io/v1alpha1\nkind: SeiNode\nmetadata:\n  name: ax-0\n  namespace: fleet\n")
	if c.consent {
		b.WriteString("  annotations: {sei.io/allow-sidecar-tls-removal: \"true\"}\n")
	}
	img := c.image
	if img == "" {
		img = "v1"
	}
	fmt.Fprintf(&b, "spec:\n  chainId: arctic-1\n  image: registry.example/seid:%s\n  fullNode: {}\n", img)
	if c.paused {
		b.WriteString("  paused: true\n")
	}
	if c.spec != "" {
		fmt.Fprintf(&b, "  sidecar: {tls: %s}\n", c.spec)
	}
	if c.noStatus {
		return b.String()
	}
	b.WriteString("status:\n  phase: Running\n  currentImage: registry.example/seid:v1\n")
	if c.current != "" {
		fmt.Fprintf(&b, "  currentSidecarTLS: %s\n", c.current)
	}
	return b.String()
}

// runPlan runs `seictl node plan` over a manifest on standard input.
func runPlan(t *testing.T, manifest string, args ...string) (out, errOut string, err error) {
	t.Helper()
	f, s := offline(t)
	s.in.WriteString(manifest)
	cmd := NewCmdPlan(f, nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append([]string{"-f", "-"}, args...))
	err = cmd.ExecuteContext(t.Context())
	return s.out.String(), s.errOut.String(), err
}

func TestOfflinePlans(t *testing.T) {
	for _, c := range allPlanCases() {
		t.Run(c.name, func(t *testing.T) {
			out, errOut, err := runPlan(t, c.manifest(), append(c.flags, "-o", "json", "--detailed-exitcode")...)
			require.Equal(t, c.code, exit.Code(err))
			require.Empty(t, errOut)
			golden(t, c.name+".json", out)

			var doc struct{ Items []preview.Item }
			require.NoError(t, json.Unmarshal([]byte(out), &doc))
			require.Len(t, doc.Items, 1)
			item := doc.Items[0]
			require.Equal(t, c.podCycles, item.PodCycles)
			require.Equal(t, strings.Fields(c.tasks), taskTypes(item.Plan))
			if c.reason == "" {
				require.Nil(t, item.Reason)
			} else {
				require.Equal(t, c.reason, *item.Reason)
			}

			text, _, err := runPlan(t, c.manifest(), c.flags...)
			require.NoError(t, err)
			golden(t, c.name+".txt", text)
			require.NotContains(t, text, "\x1b")
		})
	}
}

func taskTypes(p *preview.Plan) []string {
	out := []string{}
	if p == nil {
		return out
	}
	for _, t := range p.Tasks {
		out = append(out, t.Type)
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "plan", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run go test -update")
	require.Equal(t, string(want), got)
}

func TestPlanNeverOmitsFields(t *testing.T) {
	out, _, err := runPlan(t, planCase{}.manifest(), "-o", "json")
	require.NoError(t, err)
	var doc struct{ Items []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	for _, field := range []string{"node", "drift", "reason", "plan", "podCycles", "warnings"} {
		require.Contains(t, doc.Items[0], field)
	}
	require.Equal(t, []any{}, doc.Items[0]["drift"])
	require.Equal(t, []any{}, doc.Items[0]["warnings"])
	require.Nil(t, doc.Items[0]["plan"])
}

func TestPlanSeveralDocuments(t *testing.T) {
	second := strings.ReplaceAll(planCase{image: "v2"}.manifest(), "ax-0", "ax-1")
	out, _, err := runPlan(t, planCase{}.manifest()+"---\n"+second, "-o", "name")
	require.NoError(t, err)
	require.Equal(t, "seinode.sei.io/ax-1\n", out)
}

func TestPlanOptionsAreInjected(t *testing.T) {
	f, _ := offline(t)
	var got *PlanOptions
	cmd := NewCmdPlan(f, nil)
	require.NotNil(t, cmd)
	cmd = NewCmdPlan(f, func(_ context.Context, o *PlanOptions) error { got = o; return nil })
	cmd.SetArgs([]string{"a", "b", "--tls", "--issuer", "ca", "--image", "i"})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	require.Equal(t, []string{"a", "b"}, got.Selection.Names)
	require.Equal(t, Edit{TLS: true, Issuer: "ca", Image: "i"}, got.Edit)
}
