package install

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
)

func monitoring(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out := &bytes.Buffer{}
	cmd := NewCmdMonitoring(factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: &bytes.Buffer{}}), nil)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestPrintsMonitoring(t *testing.T) {
	for output, want := range map[string][]string{
		"yaml":      {"kind: PrometheusRule", "kind: PodMonitor", "honorLabels: true", "name: seictl-dashboard"},
		"rules":     {"groups:\n", "alert: SeiNodeSidecarTLSSecretNotReady"},
		"dashboard": {`"uid": "seictl"`},
	} {
		out, err := monitoring(t, "-o", output)
		require.NoError(t, err, output)
		for _, w := range want {
			require.Contains(t, out, w, output)
		}
	}
}

func TestMonitoringRefuses(t *testing.T) {
	for args, want := range map[[2]string]string{
		{"-o", "json"}:           `found "json", wanted yaml, rules or dashboard`,
		{"--apply", "-o=rules"}:  "leave out --apply",
		{"--apply", "something"}: "something",
	} {
		out, err := monitoring(t, args[0], args[1])
		require.ErrorContains(t, err, want)
		require.Empty(t, out)
	}
}

// Without prometheus-operator nothing is written, and the error says what else there is.
func TestMonitoringNeedsKnownKinds(t *testing.T) {
	objects, err := config.Monitoring()
	require.NoError(t, err)
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, o := range objects {
		if o.GroupVersionKind().Group != "monitoring.coreos.com" {
			mapper.Add(o.GroupVersionKind(), meta.RESTScopeNamespace)
		}
	}
	err = served(mapper, objects)
	require.ErrorContains(t, err, "does not know PodMonitor and PrometheusRule")
	require.ErrorContains(t, err, "next:")
	for _, kind := range []string{"PodMonitor", "PrometheusRule"} {
		mapper.Add(schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	require.NoError(t, served(mapper, objects))
}
