package factory

import (
	"bytes"
	"errors"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/ui"
)

func TestExplain(t *testing.T) {
	c := &Cluster{Host: "https://api"}
	nodes := schema.GroupResource{Group: "sei.io", Resource: "seinodes"}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"no CRD": {&meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "sei.io", Kind: "SeiNode"}},
			"get seinodes ax-0 in namespace fleet: the cluster at https://api has no CRD for seinodes.sei.io; next: seictl install base --apply"},
		"forbidden": {apierrors.NewForbidden(nodes, "ax-0", errors.New(`User "bob" cannot get resource`)),
			`get seinodes ax-0 in namespace fleet: not allowed: User "bob" cannot get resource; next: ask for the ClusterRole seictl-driver in that namespace (kubectl create rolebinding seictl-driver --clusterrole=seictl-driver --user=… -n fleet)`},
		"unauthorized": {apierrors.NewUnauthorized("x"),
			"get seinodes ax-0 in namespace fleet: the cluster at https://api does not accept the credentials of this context; next: log in again, or choose another --context"},
		"unreachable": {&url.Error{Op: "Get", URL: "https://api/x", Err: errors.New("connection refused")},
			"no cluster: https://api does not answer (connection refused); next: set KUBECONFIG or --kubeconfig and --context, and check with 'kubectl version'"},
	} {
		t.Run(name, func(t *testing.T) {
			require.EqualError(t, c.Explain(tc.err, "get", "seinodes", "fleet", "ax-0"), tc.want)
		})
	}
}

func TestConfirm(t *testing.T) {
	for _, tc := range []struct {
		tty    bool
		answer string
		code   int
	}{
		{true, "y\n", exit.OK}, {true, "Yes\n", exit.OK}, {true, "\n", exit.Declined}, {true, "", exit.Declined},
		{true, "n\n", exit.Declined}, {false, "y\n", exit.Failure},
	} {
		f := New(genericiooptions.IOStreams{In: bytes.NewBufferString(tc.answer), Out: &bytes.Buffer{}, ErrOut: &bytes.Buffer{}})
		f.Terminal = ui.Terminal{In: tc.tty, Err: tc.tty}
		require.Equal(t, tc.code, exit.Code(f.Confirm("Apply?")), tc)
	}
}
