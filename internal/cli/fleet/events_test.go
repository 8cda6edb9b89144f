package fleet

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
)

// However early a command that speaks JSON ends, its stream has a first line with the version, and an end.
func TestEveryEarlyEndIsAnEvent(t *testing.T) {
	for name, tc := range map[string]struct {
		objects []kube.Object
		connect error
		args    []string
		code    int
		reason  string
		next    string
		checks  int
	}{
		"the preflight refuses": {objects: append(platform(), seiNode("ax-0")), args: []string{"enable-tls", "--issuer", "pacific-1-ca"}, code: exit.Failed,
			reason: "preflight: 1 check failed: node-service-account: ServiceAccount seid-node not found in namespace fleet",
			next:   "seictl install base --apply --node-namespace fleet", checks: 1},
		"nobody answers": {objects: append(platform("fleet"), seiNode("ax-0")), args: []string{"enable-tls", "--issuer", "pacific-1-ca"}, code: exit.Failure,
			reason: "add --yes"},
		"no node": {objects: platform("fleet"), args: []string{"enable-tls", "--issuer", "pacific-1-ca", "--yes"}, code: exit.Failure, reason: "no SeiNode matches",
			next: "seictl node status -A"},
		"no node to disable": {objects: platform("fleet"), args: []string{"disable-tls", "--yes"}, code: exit.Failure, reason: "no SeiNode matches",
			next: "seictl node status -A"},
		"nothing to undo": {objects: platform("fleet"), args: []string{"undo", "--yes"}, code: exit.Failure, reason: "chain pacific-1 has no rollout",
			next: "seictl fleet history --chain pacific-1"},
		"nothing to resume": {objects: platform("fleet"), args: []string{"resume"}, code: exit.Failure, reason: "has no rollout that is not at its end",
			next: "seictl fleet history --chain pacific-1"},
		"nothing can be changed": {objects: append(platform("fleet"), seiNode("ax-0", func(n *v1alpha1.SeiNode) { n.Status.Phase = v1alpha1.PhaseFailed })),
			args: []string{"enable-tls", "--issuer", "pacific-1-ca", "--yes"}, code: exit.Failed, reason: "1 node cannot be changed now",
			next: "seictl fleet plan --chain pacific-1"},
		"no cluster": {connect: errors.New("it is broken; next: repair it"), args: []string{"enable-tls", "--yes"}, code: exit.Failure, reason: "it is broken", next: "repair it"},
	} {
		t.Run(name, func(t *testing.T) {
			f, out, errOut, _ := pretend(t, interceptor.Funcs{}, tc.objects...)
			if tc.connect != nil {
				f.Connect = func(*factory.Factory) (*factory.Cluster, error) { return nil, tc.connect }
			}
			err := run(t, f, append(tc.args, "--chain", "pacific-1", "-o", output.JSON)...)
			require.Equal(t, tc.code, exit.Code(err), "%v", err)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			var e Event
			for i, line := range lines {
				e = Event{}
				require.NoError(t, json.Unmarshal([]byte(line), &e), out.String())
				require.Equal(t, i == 0, e.Version == EventsVersion, out.String())
			}
			require.Equal(t, eventEnd, e.Type)
			require.Equal(t, tc.code, *e.ExitCode)
			require.Equal(t, "pacific-1", e.Chain)
			require.Contains(t, e.Reason, tc.reason)
			require.NotContains(t, e.Reason, "next:")
			require.Equal(t, tc.next, e.Next)
			require.Len(t, e.Preflight, tc.checks)
			require.NotContains(t, errOut.String(), "{")
			requireEvents(t, out.String())
		})
	}
}

// A command that does not speak JSON, was used wrongly, or shows a document instead, has no stream.
func TestOnlyAStreamHasAnEnd(t *testing.T) {
	for _, args := range [][]string{
		{"enable-tls", "--issuer", "x", "--secret", "y", "-o", output.JSON},
		{"enable-tls", "--dry-run", "--chain", "nowhere", "--issuer", "x", "-o", output.JSON},
		{"enable-tls", "--chain", "nowhere", "--issuer", "x"},
		{"pause", "--chain", "nowhere"},
	} {
		f, out, _, _ := pretend(t, interceptor.Funcs{}, platform()...)
		require.Error(t, run(t, f, args...))
		require.Empty(t, out.String())
	}
}
