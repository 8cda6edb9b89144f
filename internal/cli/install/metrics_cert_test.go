package install

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
)

// cluster is one that notes what is applied.
type cluster struct {
	applied []string
	// withoutCertManager lacks its kinds, webhookDown refuses them.
	withoutCertManager, webhookDown bool
}

func (c *cluster) connect(t *testing.T) func(*factory.Factory) (*factory.Cluster, error) {
	t.Helper()
	objects, err := config.Operator("x")
	require.NoError(t, err)
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, o := range objects {
		if !c.withoutCertManager || !config.NeedsCertManager(o) {
			mapper.Add(o.GroupVersionKind(), meta.RESTScopeNamespace)
		}
	}
	fakeClient := fake.NewClientBuilder().WithScheme(factory.Scheme()).WithRESTMapper(mapper).
		WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "sei-system"}}).
		WithInterceptorFuncs(interceptor.Funcs{Patch: c.patch, Watch: c.watch}).Build()
	return func(*factory.Factory) (*factory.Cluster, error) {
		return &factory.Cluster{Client: fakeClient, Host: "https://fake"}, nil
	}
}

func (c *cluster) patch(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
	gvk := o.GetObjectKind().GroupVersionKind()
	if c.webhookDown && gvk.Group == certmanager.GroupName {
		return errors.New("failed calling webhook")
	}
	c.applied = append(c.applied, gvk.Kind+" "+o.GetName())
	return nil
}

// watch tells that the certificate is issued.
func (c *cluster) watch(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
	w := watch.NewFakeWithChanSize(1, false)
	w.Modify(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": map[string]any{"name": "seictl-operator-metrics"},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}})
	return w, nil
}

func TestOperatorIsInstalledWithOrWithoutCertManager(t *testing.T) {
	for name, tc := range map[string]struct {
		cluster cluster
		first   string
		note    string
		err     string
	}{
		"with cert-manager": {
			first: "Issuer seictl-metrics-bootstrap",
		},
		"without": {
			cluster: cluster{withoutCertManager: true},
			first:   "ServiceAccount seictl-operator", note: "cert-manager is not installed",
		},
		"with one whose webhook is down": {
			cluster: cluster{webhookDown: true},
			first:   "ServiceAccount seictl-operator", err: "the operator is installed, the certificate of its metrics is not",
		},
	} {
		t.Run(name, func(t *testing.T) {
			errOut := &bytes.Buffer{}
			f := factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, ErrOut: errOut})
			f.Connect = tc.cluster.connect(t)
			cmd := NewCmdOperator(f, nil)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetArgs([]string{"--image", "registry.example/seictl:v1", "--apply"})
			err := cmd.ExecuteContext(t.Context())
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.err)
			}
			require.Equal(t, tc.first, tc.cluster.applied[0])
			require.Contains(t, tc.cluster.applied, "Deployment seictl-operator")
			require.Contains(t, errOut.String(), tc.note)
			if tc.note == "" {
				require.Empty(t, errOut.String())
			}
		})
	}
}
