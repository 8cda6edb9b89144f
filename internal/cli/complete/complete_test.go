package complete

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/node"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: prod-eu, context: {cluster: prod, namespace: fleet, user: alice}}, {name: prod-us, context: {cluster: prod}}]
users: [{name: alice, user: {}}]
current-context: prod-eu
`

// shell is seictl as a shell's completion calls it.
type shell struct {
	t      *testing.T
	f      *factory.Factory
	errOut bytes.Buffer
}

func newShell(t *testing.T) *shell {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(kubeconfig), 0o600))
	t.Setenv("KUBECONFIG", path)
	s := &shell{t: t}
	s.f = factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, ErrOut: &s.errOut})
	return s
}

// tab returns what a shell is offered for a command line, one candidate a line, and the directive.
func (s *shell) tab(args ...string) []string {
	s.t.Helper()
	s.f.Flags = genericclioptions.NewConfigFlags(true)
	root := &cobra.Command{Use: "seictl", SilenceErrors: true, SilenceUsage: true}
	s.f.Flags.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVar(&s.f.Color, "color", "", "")
	root.AddCommand(node.NewCmdNode(s.f))
	Install(root, s.f)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&s.errOut)
	root.SetArgs(append([]string{cobra.ShellCompRequestCmd}, args...))
	require.NoError(s.t, root.ExecuteContext(s.t.Context()))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1]
}

func (s *shell) cluster(funcs interceptor.Funcs, objects ...client.Object) {
	c := fake.NewClientBuilder().WithScheme(factory.Scheme()).WithObjects(objects...).WithInterceptorFuncs(funcs).
		WithIndex(&corev1.Secret{}, "type", func(o client.Object) []string { return []string{string(o.(*corev1.Secret).Type)} }).Build()
	s.f.Connect = func(*factory.Factory) (*factory.Cluster, error) { return &factory.Cluster{Client: c}, nil }
}

func seinode(namespace, name, chain string) *v1alpha1.SeiNode {
	return &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.SeiNodeSpec{ChainID: chain, Archive: &v1alpha1.ArchiveSpec{}}, Status: v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning}}
}

func objects() []client.Object {
	ready := cmv1.IssuerStatus{Conditions: []cmv1.IssuerCondition{{Type: cmv1.IssuerConditionReady, Status: cmmeta.ConditionTrue}}}
	return []client.Object{
		seinode("fleet", "ax-0", "arctic-1"), seinode("fleet", "ax-1", "arctic-1"), seinode("other", "px-0", "pacific-1"),
		&cmv1.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: "arctic-1-ca"}, Status: ready},
		&cmv1.Issuer{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "own-ca"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
	}
}

func TestComplete(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{"node status ", []string{"ax-0\tarctic-1 archive Running", "ax-1\tarctic-1 archive Running"}},
		{"node apply ax-0 ", []string{"ax-1\tarctic-1 archive Running"}},
		{"node plan -n other p", []string{"px-0\tpacific-1 archive Running"}},
		{"node plan --chain ", []string{"arctic-1", "pacific-1"}},
		{"node plan ax-0 --tls --issuer ", []string{"arctic-1-ca\tReady"}},
		{"node plan ax-0 --tls --issuer-kind Issuer --issuer ", []string{"own-ca\tnot Ready"}},
		{"node plan --issuer-kind ", []string{"ClusterIssuer", "Issuer"}},
		{"node plan --namespace ", []string{"fleet", "other"}},
		{"node plan --context prod-", []string{"prod-eu", "prod-us"}},
		{"node plan --cluster ", []string{"prod"}},
		{"node plan --user ", []string{"alice"}},
		{"node plan --color ", []string{"auto", "always", "never"}},
		{"node verify -o ", []string{"table", "json", "yaml"}},
	} {
		t.Run(c.line, func(t *testing.T) {
			s := newShell(t)
			s.cluster(interceptor.Funcs{}, objects()...)
			require.Equal(t, c.want, s.tab(strings.Split(c.line, " ")...))
		})
	}
}

// Without a cluster, with one that refuses the connection, or that never answers: nothing, and no word of it.
func TestCompleteWithoutAnAnswer(t *testing.T) {
	hang := interceptor.Funcs{List: func(ctx context.Context, _ client.WithWatch, _ client.ObjectList, _ ...client.ListOption) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	for name, prepare := range map[string]func(*shell){
		"no kubeconfig":      func(s *shell) { s.t.Setenv("KUBECONFIG", "/does/not/exist") },
		"connection refused": func(*shell) {},
		"no answer":          func(s *shell) { s.cluster(hang) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShell(t)
			prepare(s)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			require.Empty(t, s.tab("node", "status", ""))
			require.NotContains(t, strings.ToLower(s.errOut.String()), "error")
		})
	}
}
