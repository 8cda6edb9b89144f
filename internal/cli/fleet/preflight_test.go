package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
	clienttesting "k8s.io/client-go/testing"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/settings"
)

// discovers is a cluster that serves the schemas of our CRDs, and cert-manager.
type discovers struct {
	discovery.DiscoveryInterfaces
	asked *atomic.Int32
	spec  []byte
}

func (d discovers) OpenAPIV3() openapi.Client {
	d.asked.Add(2)
	return &openapitest.FakeClient{PathsMap: map[string]openapi.GroupVersion{
		"apis/" + v1alpha1.GroupVersion.String(): openapitest.FakeGroupVersion{GVSpec: d.spec}}}
}

func (d discovers) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	d.asked.Add(1)
	out := &metav1.APIResourceList{}
	for _, name := range []string{"certificates", "certificaterequests", "issuers", "clusterissuers"} {
		out.APIResources = append(out.APIResources, metav1.APIResource{Name: name})
	}
	return out, nil
}

type clientset struct {
	kubernetes.Interface
	discovery discovers
}

func (c clientset) Discovery() discovery.DiscoveryInterfaces { return c.discovery }

// openAPI is how an API server serves our CRDs.
func openAPI(t *testing.T) []byte {
	t.Helper()
	crds, err := config.CRDs()
	require.NoError(t, err)
	schemas := map[string]any{}
	for _, crd := range crds {
		spec := crd.Object["spec"].(map[string]any)
		s := spec["versions"].([]any)[0].(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
		kind := spec["names"].(map[string]any)["kind"].(string)
		s["x-kubernetes-group-version-kind"] = []any{map[string]any{"group": v1alpha1.GroupVersion.Group, "version": v1alpha1.GroupVersion.Version, "kind": kind}}
		schemas[kind] = s
	}
	out, err := json.Marshal(map[string]any{"components": map[string]any{"schemas": schemas}})
	require.NoError(t, err)
	return out
}

// platform is everything that nodes of some namespaces need for TLS.
func platform(namespaces ...string) []kube.Object {
	out := []kube.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: settings.ConfigMapName},
			Data: map[string]string{settings.Key: "sidecarImage: registry.example/sidecar:v1\n"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: "seictl-client"}},
		&cmv1.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: "pacific-1-ca"}, Status: cmv1.IssuerStatus{Conditions: []cmv1.IssuerCondition{
			{Type: cmv1.IssuerConditionReady, Status: cmmeta.ConditionTrue}}}},
	}
	for _, ns := range namespaces {
		out = append(out, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: settings.Default().NodeServiceAccount}})
	}
	return out
}

// elsewhere is a node of another namespace.
func elsewhere(ns, name string) *v1alpha1.SeiNode {
	return seiNode(name, func(n *v1alpha1.SeiNode) { n.Namespace = ns })
}

// podOf is the pod of a node, Ready.
func podOf(n *v1alpha1.SeiNode) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name + "-0",
			Labels: map[string]string{v1alpha1.LabelNode: n.Name, v1alpha1.LabelChain: n.Spec.ChainID}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

// pretend is a factory over a fake cluster, and how many requests it gets.
func pretend(t *testing.T, funcs interceptor.Funcs, objects ...kube.Object) (f *factory.Factory, out, errOut *bytes.Buffer, asked *atomic.Int32) {
	t.Helper()
	asked, out, errOut = &atomic.Int32{}, &bytes.Buffer{}, &bytes.Buffer{}
	get, list := funcs.Get, funcs.List
	funcs.Get = func(ctx context.Context, c kube.WithWatch, key kube.ObjectKey, o kube.Object, opts ...kube.GetOption) error {
		asked.Add(1)
		if get != nil {
			return get(ctx, c, key, o, opts...)
		}
		return c.Get(ctx, key, o, opts...)
	}
	funcs.List = func(ctx context.Context, c kube.WithWatch, l kube.ObjectList, opts ...kube.ListOption) error {
		asked.Add(1)
		if list != nil {
			return list(ctx, c, l, opts...)
		}
		return c.List(ctx, l, opts...)
	}
	objects = append(objects, elsewhere("other", "not-of-this-chain"))
	objects[len(objects)-1].(*v1alpha1.SeiNode).Spec.ChainID = "arctic-1"
	for _, o := range objects {
		if n, ok := o.(*v1alpha1.SeiNode); ok {
			objects = append(objects, podOf(n))
		}
	}
	c := fake.NewClientBuilder().WithScheme(factory.Scheme()).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
	typed := kubefake.NewClientset()
	typed.PrependReactor("create", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		asked.Add(1)
		switch o := a.(clienttesting.CreateAction).GetObject().(type) {
		case *authzv1.SelfSubjectRulesReview:
			o.Status.ResourceRules = []authzv1.ResourceRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}
			return true, o, nil
		case *authzv1.SubjectAccessReview:
			o.Status.Allowed = true
			return true, o, nil
		}
		return false, nil, nil
	})
	f = factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: errOut})
	f.Now = func() time.Time { return at }
	f.Connect = func(*factory.Factory) (*factory.Cluster, error) {
		return &factory.Cluster{Client: c, Kube: clientset{typed, discovers{typed.Discovery(), asked, openAPI(t)}}, Host: "https://fake"}, nil
	}
	return f, out, errOut, asked
}

func run(t *testing.T, f *factory.Factory, args ...string) error {
	t.Helper()
	cmd := NewCmdFleet(f)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return cmd.ExecuteContext(t.Context())
}

type planned struct {
	Nodes     []struct{ Name string }
	Preflight []preflight.Line
}

// plan runs `fleet plan -o json`.
func plannedBy(t *testing.T, f *factory.Factory, out *bytes.Buffer, args ...string) (doc planned) {
	t.Helper()
	out.Reset()
	require.NoError(t, run(t, f, append([]string{"plan", "--chain", "pacific-1", "--issuer", "pacific-1-ca", "-o", output.JSON}, args...)...))
	require.NoError(t, json.Unmarshal(out.Bytes(), &doc))
	return doc
}

// What the preflight asks depends on issuers and namespaces, not on nodes.
func TestThePreflightOfAFleetAsksOnce(t *testing.T) {
	requests := func(nodes int, namespaces ...string) int {
		objects := platform(namespaces...)
		for i := range nodes {
			objects = append(objects, elsewhere(namespaces[i%len(namespaces)], fmt.Sprintf("ax-%d", i)))
		}
		f, out, _, asked := pretend(t, interceptor.Funcs{}, objects...)
		doc := plannedBy(t, f, out)
		require.Len(t, doc.Nodes, nodes)
		require.NotEmpty(t, doc.Preflight)
		for _, l := range doc.Preflight {
			require.NotEqual(t, preflight.Failed, l.Result, "%+v", l)
		}
		return int(asked.Load())
	}
	one := requests(1, "a")
	require.Equal(t, one, requests(1000, "a"))
	require.LessOrEqual(t, one, 30)
	two, five := requests(2, "a", "b"), requests(500, "a", "b", "c", "d", "e")
	require.LessOrEqual(t, two-one, 5, "requests for one more namespace")
	require.Equal(t, 4*(two-one), five-one)
}

func TestTheChecksOfAFleet(t *testing.T) {
	forbid := func(what kube.Object) interceptor.Funcs {
		return interceptor.Funcs{Get: func(ctx context.Context, c kube.WithWatch, key kube.ObjectKey, o kube.Object, opts ...kube.GetOption) error {
			if fmt.Sprintf("%T", o) == fmt.Sprintf("%T", what) {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, key.Name, errors.New("no"))
			}
			return c.Get(ctx, key, o, opts...)
		}}
	}
	nodes := []kube.Object{elsewhere("a", "ax-0"), elsewhere("b", "ax-0")}
	for name, tc := range map[string]struct {
		funcs   interceptor.Funcs
		objects []kube.Object
		args    []string
		want    map[string]string
	}{
		"all is well": {objects: platform("a", "b"), want: map[string]string{"operator": "warning no operator is installed"}},
		"nothing is installed": {want: map[string]string{
			"issuer-exists": "failed ClusterIssuer pacific-1-ca not found, and no issuer is Ready", "settings": "failed ConfigMap sei-system/seictl-config not found",
			"node-service-account": "failed ServiceAccount seid-node not found in namespace a: the pods of nodes need it; the same in namespace b",
			"client-account":       "failed ServiceAccount sei-system/seictl-client", "operator": "warning "}},
		"another issuer": {objects: platform("a", "b"), args: []string{"--issuer", "other", "--issuer-kind", "Issuer"}, want: map[string]string{
			"issuer-exists": "failed Issuer other not found in namespace a; Ready are ClusterIssuer/pacific-1-ca; the same in namespace b", "operator": "warning "}},
		"nobody may look": {funcs: forbid(&cmv1.ClusterIssuer{}), objects: platform("a", "b"), want: map[string]string{
			"issuer-exists": "skipped cannot tell: whether ClusterIssuer pacific-1-ca exists: no", "operator": "warning "}},
	} {
		t.Run(name, func(t *testing.T) {
			f, out, _, _ := pretend(t, tc.funcs, append(tc.objects, nodes...)...)
			left := 0
			for _, l := range plannedBy(t, f, out, tc.args...).Preflight {
				want, told := tc.want[l.Check]
				if told {
					left++
					require.Contains(t, string(l.Result)+" "+l.Message, want)
					continue
				}
				require.Equal(t, preflight.OK, l.Result, "%s: %s", l.Check, l.Message)
			}
			require.Equal(t, len(tc.want), left)
		})
	}
}
