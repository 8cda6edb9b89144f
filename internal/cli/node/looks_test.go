package node

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/explain"
)

// looks are commands whose output people read. Each is run on terminals and in pipes of two widths.
var looks = map[string]func(t *testing.T, f *factory.Factory, s *streams){
	"plan": func(t *testing.T, f *factory.Factory, s *streams) {
		s.in.WriteString(planCase{spec: issuerA, image: "v2"}.manifest())
		cmd := NewCmdPlan(f, nil)
		cmd.SetArgs([]string{"-f", "-"})
		require.NoError(t, cmd.ExecuteContext(t.Context()))
	},
	"status": func(t *testing.T, f *factory.Factory, _ *streams) {
		cmd := NewCmdStatus(f, nil)
		cmd.SetArgs([]string{"-A"})
		require.NoError(t, cmd.ExecuteContext(t.Context()))
	},
	"status-one": func(t *testing.T, f *factory.Factory, _ *streams) {
		n := everything()
		d := statusDocument(n, now)
		d.text(f.Printer())
		require.NotEmpty(t, d.Conditions)
	},
	"explain": func(_ *testing.T, f *factory.Factory, _ *streams) {
		since, until := now.Add(-2*time.Minute), now.Add(3*time.Minute)
		e := explained{Node: preview.Node{Namespace: "fleet", Name: "ax-0", ChainID: "arctic-1", Mode: "fullNode"}, Explanation: explain.Explanation{
			Runs: "image registry.example/seid:v1, TLS off; pod ax-0-0 is Ready", Wants: "image registry.example/seid:v1, TLS ClusterIssuer/no-such-ca",
			Doing: "NodeUpdate, task 2 of 9: wait-for-sidecar-tls-secret (a pod that mounts a missing Secret does not start)", Driver: "nobody",
			Cause: &explain.Cause{Code: explain.CodeIssuerMissing, Object: "ClusterIssuer no-such-ca", Since: &since, GivesUpAt: &until,
				Message: "there is no such ClusterIssuer; there is ClusterIssuer/arctic-1-ca"},
			Links: []explain.Link{{Object: "Certificate fleet/ax-0-sidecar-tls", State: explain.Waits, Detail: "it is being issued"},
				{Object: "ClusterIssuer no-such-ca", State: explain.Broken, Detail: "there is no such ClusterIssuer; there is ClusterIssuer/arctic-1-ca"},
				{Object: "Pod fleet/ax-0-0", State: explain.OK, Detail: "it is Ready"}},
			Notes: []string{"podTemplate: it differs"}, Next: []string{"seictl node apply ax-0 -n fleet --tls --issuer arctic-1-ca", "kubectl get clusterissuers,issuers -A"},
		}}
		e.text(f.Printer(), now)
	},
}

// long is a node whose names do not fit 80 columns.
func long() *v1alpha1.SeiNode {
	n := everything()
	n.Name, n.Namespace, n.UID = "archive-"+strings.Repeat("x", 30)+"-0", "a-namespace-with-a-long-name", "uid-long"
	n.Status.CurrentSidecarTLS.IssuerName = "an-issuer-with-quite-a-long-name"
	return n
}

func TestLooks(t *testing.T) {
	for name, run := range looks {
		for _, width := range []int{80, 200} {
			for _, tty := range []bool{true, false} {
				where := "pipe"
				if tty {
					where = "tty"
				}
				golden := fmt.Sprintf("%s-%d-%s.txt", name, width, where)
				t.Run(golden, func(t *testing.T) {
					f, s := offline(t)
					withCluster(t, f, runs(), long())
					f.Terminal = ui.Terminal{In: tty, Out: tty, Err: tty, Width: width}
					run(t, f, s)
					requireLook(t, golden, s.out, width, tty)
				})
			}
		}
	}
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

func requireLook(t *testing.T, name string, out *bytes.Buffer, width int, tty bool) {
	t.Helper()
	got := out.String()
	path := filepath.Join("testdata", "looks", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run go test -update")
	require.Equal(t, string(want), got)
	require.Equal(t, tty, strings.Contains(got, "\x1b["), "colours on a terminal only")
	if !tty {
		return
	}
	for line := range strings.SplitSeq(got, "\n") {
		// A command to copy is one word too long for any width: it is never broken.
		bare := colour.ReplaceAllString(line, "")
		if text := strings.TrimSpace(bare); !strings.HasPrefix(text, "next:") && !strings.HasPrefix(text, "or:") {
			require.LessOrEqual(t, utf8.RuneCountInString(bare), width, line)
		}
	}
}

// NO_COLOR and --color decide, whatever the stream is.
func TestColours(t *testing.T) {
	for _, c := range []struct {
		color        string
		noColor, tty bool
		want         bool
	}{
		{ui.ColorAuto, false, true, true}, {ui.ColorAuto, true, true, false}, {ui.ColorAuto, false, false, false},
		{ui.ColorAlways, true, false, true}, {ui.ColorNever, false, true, false},
	} {
		f, s := offline(t)
		f.Color, f.NoColor, f.Terminal.Out = c.color, c.noColor, c.tty
		looks["explain"](t, f, s)
		require.Equal(t, c.want, strings.Contains(s.out.String(), "\x1b["), c)
	}
}

// JSON is JSON, whoever looks at it.
func TestJSONHasNoColours(t *testing.T) {
	f, s := offline(t)
	withCluster(t, f, runs())
	f.Terminal = ui.Terminal{In: true, Out: true, Err: true, Width: 80}
	f.Color = ui.ColorAlways
	cmd := NewCmdStatus(f, nil)
	cmd.SetArgs([]string{"-A", "-o", "json"})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	requireSchema(t, "node-status.json", s.out.String())
}
