package preflight

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var errDenied = apierrors.NewForbidden(schema.GroupResource{Resource: "things"}, "x", errors.New("no"))

func absent[T any](v T) Read[T] { return Read[T]{State: Absent, Value: v} }
func denied[T any]() Read[T]    { return Read[T]{State: Denied, Err: errDenied} }

func testNode() *v1alpha1.SeiNode {
	return &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0", UID: "u"},
		Spec: v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{},
			Sidecar: &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"}}},
		Status: v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1"},
	}
}

func planWith(types ...v1alpha1.TaskType) *v1alpha1.Plan {
	p := &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate}
	for _, t := range types {
		p.Tasks = append(p.Tasks, v1alpha1.Task{Type: t})
	}
	return p
}

// wellFacts are those of a node that can turn TLS on.
func wellFacts() *NodeFacts {
	s := settings.Default()
	s.SidecarImage = "sidecar:v1"
	n, live := testNode(), testNode()
	live.Spec.Sidecar = nil
	return &NodeFacts{
		NodeInput: NodeInput{
			Node: n, Live: live, Plan: planWith(v1alpha1.TaskApplySidecarCert), Edited: true, Command: "seictl node plan ax-0 -n fleet",
			Target: v1alpha1.PlanTarget{Image: "seid:v1", SidecarTLS: n.SidecarTLS()},
		},
		Namespace:   found(true),
		CertManager: CertManager{Missing: found([]string(nil)), Lease: found(Lease{Holder: "cm-0", Live: true})},
		Issuer: &IssuerFacts{
			Named:    found(Issuer{Kind: "ClusterIssuer", Name: "arctic-1-ca", Ready: "True", Current: true, CASecret: "ca"}),
			CASecret: found(true), CANamespace: "cert-manager",
			Command: func(issuer, kind string) string {
				return "seictl node plan ax-0 --issuer " + issuer + " --issuer-kind " + kind
			},
		},
		Schemas:        found(Schemas{Served: map[string]bool{"SeiNode": true}, Unknown: map[string][]string{}}),
		Settings:       found(s),
		ServiceAccount: found(true), Client: found(true),
		Reviews:      []Access{{Right: Right{Verb: "create", Resource: "tokenreviews"}, Allowed: true}},
		ClientAccess: []Access{{Right: Right{Verb: "get", Resource: "seinodetasks"}, Allowed: true}},
		Access:       []Access{{Right: Right{Verb: "get", Resource: "seinodes"}, Allowed: true}},
		Me:           found(Me{User: "alice"}),
		Operator:     Operator{Deployment: found(Deployment{Wanted: 1, Available: 1})},
	}
}

func lineNamed(t *testing.T, lines []Line, name string) Line {
	t.Helper()
	for _, l := range lines {
		if l.Check == name {
			return l
		}
	}
	require.Fail(t, "no such check", name)
	return Line{}
}

func TestAWellNodePasses(t *testing.T) {
	lines := CheckNode(wellFacts())
	require.Len(t, lines, len(nodeChecks))
	for _, l := range lines {
		require.Equal(t, OK, l.Result, "%s: %s", l.Check, l.Message)
	}
}

// Every check that fails says what is wrong and what to do, and hides no other.
func TestNodeChecks(t *testing.T) {
	refused := func(verb, resource string) []Access {
		return []Access{{Right: Right{Namespace: "fleet", Verb: verb, Resource: resource}}}
	}
	for name, c := range map[string]struct {
		spoil   func(f *NodeFacts)
		check   string
		result  Result
		message string
		hint    string
	}{
		"namespace missing": {func(f *NodeFacts) { f.Namespace = absent(true) }, "namespace", Failed, "not found", "kubectl create namespace fleet"},
		"namespace denied":  {func(f *NodeFacts) { f.Namespace = denied[bool]() }, "namespace", Skipped, "cannot tell", ""},
		"no cert-manager": {func(f *NodeFacts) { f.CertManager.Missing = absent([]string(nil)) }, "cert-manager-installed", Failed,
			"not installed", "kubectl get crd"},
		"half a cert-manager": {func(f *NodeFacts) { f.CertManager.Missing = found([]string{"issuers"}) }, "cert-manager-installed", Failed,
			"issuers", "kubectl get crd"},
		"cert-manager's lease lapsed": {func(f *NodeFacts) { f.CertManager.Lease.Value.Live = false }, "cert-manager-serving", Failed,
			"does not run", "kubectl get pods"},
		"cert-manager's pod is away": {func(f *NodeFacts) {
			f.CertManager.Lease = absent(Lease{})
			f.CertManager.Deployment = found(Deployment{Namespace: "cm", Name: "cm", Wanted: 1})
		}, "cert-manager-serving", Failed, "no available pod", "kubectl rollout restart deployment cm -n cm"},
		"requests are left lying": {func(f *NodeFacts) { f.CertManager.Stalled = []string{"CertificateRequest fleet/x"} }, "cert-manager-serving", Failed,
			"fleet/x", "kubectl get pods"},
		"nothing to look at": {func(f *NodeFacts) { f.CertManager.Lease = absent(Lease{}) }, "cert-manager-serving", OK, "nothing waits", ""},
		"wrong kind": {func(f *NodeFacts) {
			f.Issuer.Named = absent(Issuer{Kind: "Issuer", Namespace: "fleet", Name: "arctic-1-ca"})
			f.Issuer.Twin = found(Issuer{Kind: "ClusterIssuer", Name: "arctic-1-ca"})
		}, "issuer-exists", Failed, "a ClusterIssuer of that name exists: add --issuer-kind ClusterIssuer", "--issuer arctic-1-ca --issuer-kind ClusterIssuer"},
		"issuer missing": {func(f *NodeFacts) {
			f.Issuer.Named, f.Issuer.Others = absent(Issuer{Kind: "ClusterIssuer", Name: "x"}), []Issuer{{Kind: "ClusterIssuer", Name: "pacific-1-ca"}}
		}, "issuer-exists", Failed, "Ready are ClusterIssuer/pacific-1-ca", "--issuer pacific-1-ca --issuer-kind ClusterIssuer"},
		"no issuer at all": {func(f *NodeFacts) { f.Issuer.Named = absent(Issuer{Kind: "ClusterIssuer", Name: "x"}) }, "issuer-exists", Failed,
			"no issuer is Ready", "kubectl get clusterissuers,issuers -A"},
		"issuer not ready": {func(f *NodeFacts) { f.Issuer.Named.Value.Ready, f.Issuer.Named.Value.Reason = "False", "ErrGetKeyPair" }, "issuer-ready", Failed,
			"ErrGetKeyPair", "kubectl describe clusterissuer arctic-1-ca"},
		"issuer never judged": {func(f *NodeFacts) { f.Issuer.Named.Value.Ready = "" }, "issuer-ready", Failed, "never judged", "kubectl describe"},
		"issuer changed since": {func(f *NodeFacts) { f.Issuer.Named.Value.Current = false }, "issuer-ready", Warning,
			"before its last change", "kubectl describe"},
		"its CA is missing": {func(f *NodeFacts) {
			f.Issuer.Named.Value.Kind, f.Issuer.CANamespace, f.Issuer.CASecret = "Issuer", "fleet", absent(true)
		}, "issuer-ca-secret", Failed, "fleet/ca", "kubectl create secret tls ca -n fleet --cert=ca.crt --key=ca.key"},
		"a cluster issuer's CA is elsewhere": {func(f *NodeFacts) { f.Issuer.CASecret = absent(true) }, "issuer-ca-secret", Warning,
			"--cluster-resource-namespace", "metadata.name=ca"},
		"its CA may not be seen": {func(f *NodeFacts) { f.Issuer.CASecret = denied[bool]() }, "issuer-ca-secret", Skipped, "may not look", ""},
		"old CRD": {func(f *NodeFacts) { f.Schemas.Value.Unknown["SeiNode"] = []string{"spec.sidecar.tls"} }, "crd-fields", Failed,
			"spec.sidecar.tls", "seictl install base --apply"},
		"schema not published": {func(f *NodeFacts) {
			f.Schemas.Value.Served, f.Schemas.Value.Unpublished = nil, map[string]bool{"SeiNode": true}
		}, "crd-fields", Skipped, "has not published its schema", ""},
		"no CRD": {func(f *NodeFacts) { f.Schemas.Value.Served = nil }, "crd-fields", Failed, "no CRD", "seictl install base --apply"},
		"settings broken": {func(f *NodeFacts) {
			f.Settings = Read[settings.Settings]{State: Broken, Err: errors.New("config.yaml: bad")}
		},
			"settings", Failed, "config.yaml: bad", "kubectl edit configmap seictl-config -n sei-system"},
		"no settings":    {func(f *NodeFacts) { f.Settings.State = Absent }, "settings", Warning, "default settings", ""},
		"no proxy image": {func(f *NodeFacts) { f.Settings.Value.ProxyImage = "" }, "settings", Failed, "proxyImage", "kubectl edit configmap"},
		"no ServiceAccount": {func(f *NodeFacts) { f.ServiceAccount = absent(true) }, "node-service-account", Failed, "seid-node",
			"seictl install base --apply --node-namespace fleet"},
		"no ServiceAccount of another name": {func(f *NodeFacts) {
			f.ServiceAccount, f.Settings.Value.NodeServiceAccount = absent(true), "other"
		}, "node-service-account", Failed, "other", "kubectl create serviceaccount other -n fleet"},
		"no reviews": {func(f *NodeFacts) { f.Reviews = []Access{{Right: Right{Verb: "create", Resource: "tokenreviews"}}} }, "node-token-review", Failed,
			"may not create tokenreviews", "--node-namespace fleet"},
		"reviews unknown": {func(f *NodeFacts) { f.Reviews[0].Err = errDenied }, "node-token-review", Skipped, "cannot tell", "kubectl auth can-i"},
		"no client":       {func(f *NodeFacts) { f.Client = absent(true) }, "client-account", Failed, "seictl-client", "seictl install base --apply"},
		"client shut out": {func(f *NodeFacts) { f.ClientAccess = refused("get", "seinodetasks") }, "client-access", Failed, "403", "seictl install base --apply"},
		"caller may not": {func(f *NodeFacts) { f.Access = refused("delete", "pods") }, "your-rights", Failed, "you (alice) may not: delete pods in namespace fleet",
			"kubectl create rolebinding seictl-driver-alice --clusterrole=seictl-driver --user=alice -n fleet"},
		"caller is a ServiceAccount": {func(f *NodeFacts) {
			f.Me.Value.User, f.Access = "system:serviceaccount:ci:bot", refused("delete", "pods")
		}, "your-rights", Failed,
			"delete pods", "kubectl create rolebinding seictl-driver-ci-bot --clusterrole=seictl-driver --serviceaccount=ci:bot -n fleet"},
		"another controller": {func(f *NodeFacts) { f.Foreign = "seinode-controller" }, "other-writers", Failed, "seinode-controller", "kubectl get deployments -A"},
		"a parent": {func(f *NodeFacts) {
			f.Live.OwnerReferences = []metav1.OwnerReference{{Kind: "SeiNodeDeployment", Name: "ax", Controller: new(true)}}
		}, "other-writers", Failed, "edit its template", `kubectl patch seinodedeployment ax -n fleet --type=merge -p '{"spec":{"template":{"spec":{"sidecar":{"tls":` +
			`{"issuerKind":"ClusterIssuer","issuerName":"arctic-1-ca","secretName":null}}}}}}'`},
		"a parent, no edit": {func(f *NodeFacts) {
			f.Edited = false
			f.Live.OwnerReferences = []metav1.OwnerReference{{Kind: "SeiNodeDeployment", Name: "ax", Controller: new(true)}}
		}, "other-writers", OK, "nothing is edited here", ""},
		"Argo CD": {func(f *NodeFacts) {
			f.Live.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "fleet-app:sei.io/SeiNode:fleet/ax-0"}
		}, "other-writers", Warning, "Argo CD (fleet-app)", "argocd app diff fleet-app"},
		"Flux": {func(f *NodeFacts) { f.Live.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "fleet"} }, "other-writers", Warning,
			"Flux (fleet)", "flux diff kustomization fleet"},
		"a human":     {func(f *NodeFacts) { f.Live.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl-edit"}} }, "other-writers", OK, "kubectl-edit", ""},
		"no operator": {func(f *NodeFacts) { f.Operator.Deployment = absent(Deployment{}) }, "operator", Warning, "mark-ready", "seictl install operator"},
		"operator down": {func(f *NodeFacts) { f.Operator.Deployment.Value.Available = 0 }, "operator", Failed, "no available pod",
			"kubectl rollout status deployment seictl-operator -n sei-system"},
		"operator elsewhere": {func(f *NodeFacts) {
			f.Operator = Operator{Deployment: absent(Deployment{}), Lease: found(Lease{Holder: "operator/seictl-operator-0", Live: true})}
		}, "operator", OK, "seictl-operator-0", ""},
		"foreign object": {func(f *NodeFacts) { f.Refused = []Refusal{{"Certificate", "x", errors.New("is not this node's")}} }, "objects", Failed,
			"is not this node's", "kubectl get certificate x -n fleet"},
	} {
		t.Run(name, func(t *testing.T) {
			f := wellFacts()
			c.spoil(f)
			lines := CheckNode(f)
			require.Len(t, lines, len(nodeChecks), "nothing is hidden")
			l := lineNamed(t, lines, c.check)
			require.Equal(t, c.result, l.Result, l.Message)
			require.Contains(t, l.Message, c.message)
			require.Contains(t, l.Hint, c.hint)
			if l.Result == Failed {
				require.NotEmpty(t, l.Hint, "a failure says what to do")
			}
		})
	}
}

// What a plan does not need must not keep it from running: an issuer that is gone does not matter to an image update.
func TestAnIssuerOnlyFailsAPlanThatIssues(t *testing.T) {
	f := wellFacts()
	f.Plan = planWith(v1alpha1.TaskApplyStatefulSet)
	f.Issuer.Named.Value.Ready = "False"
	require.Equal(t, Warning, lineNamed(t, CheckNode(f), "issuer-ready").Result)
	f.Issuer, f.Node.Spec.Sidecar, f.Target.SidecarTLS = nil, nil, nil
	lines := CheckNode(f)
	for _, name := range []string{"issuer-ready", "cert-manager-serving", "node-token-review", "client-access"} {
		require.Equal(t, Skipped, lineNamed(t, lines, name).Result, name)
	}
}

func TestCount(t *testing.T) {
	lines := []Line{{Result: OK}, {Result: Failed, Check: "a"}, {Result: Failed, Check: "b"}, {Result: Warning}}
	require.True(t, AnyFailed(lines))
	require.Equal(t, 2, Count(lines, Failed))
	require.Equal(t, "a", First(lines, Failed).Check)
	require.Nil(t, First(lines, Skipped))
	require.Equal(t, "√‼×-", OK.Symbol()+Warning.Symbol()+Failed.Symbol()+Skipped.Symbol())
}
