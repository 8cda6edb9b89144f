package check

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/preflight"
)

var lines = []preflight.Line{
	{Category: "cluster", Check: "api-server", Result: preflight.OK, Message: "Kubernetes v1.36.3 answers"},
	{Category: "issuers", Check: "issuer", Result: preflight.Failed, Message: "ClusterIssuer x is not Ready", Hint: "kubectl describe clusterissuer x"},
	{Category: "operator", Check: "operator", Result: preflight.Warning, Message: "no operator", Hint: "seictl install operator"},
	{Category: "monitoring", Check: "alerts", Result: preflight.Skipped, Message: "not installed"},
}

func text(t *testing.T, format string) string {
	t.Helper()
	o := &Options{Output: output.NewFormat(output.JSON, short)}
	require.NoError(t, o.Output.Set(format))
	var out bytes.Buffer
	o.text(ui.NewPrinter(&out, false, 80), lines)
	return out.String()
}

func TestTable(t *testing.T) {
	require.Equal(t, `cluster
  √ api-server: Kubernetes v1.36.3 answers

issuers
  × issuer: ClusterIssuer x is not Ready
      hint: kubectl describe clusterissuer x

operator
  ‼ operator: no operator
      hint: seictl install operator

monitoring
  - alerts: not installed

× not well: 1 failed, 1 warning
`, text(t, output.Table))
}

func TestShortTellsOnlyWhatIsWrong(t *testing.T) {
	require.Equal(t, `× issuer: ClusterIssuer x is not Ready
    hint: kubectl describe clusterissuer x
‼ operator: no operator
    hint: seictl install operator
`, text(t, short))
}

func TestUntilNothingFails(t *testing.T) {
	clock := time.Unix(0, 0)
	o := &Options{Factory: factory.New(genericiooptions.NewTestIOStreamsDiscard()), Wait: time.Hour}
	o.Now = func() time.Time { return clock }
	looks := 0
	got := o.until(t.Context(), func() []preflight.Line {
		looks++
		clock = clock.Add(2 * time.Hour)
		return lines
	})
	require.Equal(t, 1, looks, "the time is over")
	require.True(t, preflight.AnyFailed(got))
	got = o.until(t.Context(), func() []preflight.Line { return lines[:1] })
	require.Len(t, got, 1, "nothing failed: nobody waits")
}
