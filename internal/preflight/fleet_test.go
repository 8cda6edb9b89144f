package preflight

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// fleetNode is a node that gets TLS, and its plan.
func fleetNode(ns, name string, tls *v1alpha1.SidecarTLSConfig) (*v1alpha1.SeiNode, *v1alpha1.Plan) {
	n := testNode()
	n.Namespace, n.Name, n.Spec.Sidecar.TLS = ns, name, tls
	types := []v1alpha1.TaskType{v1alpha1.TaskApplySidecarCert, v1alpha1.TaskReplacePod}
	if tls.SecretName != "" {
		types = types[1:]
	}
	return n, planWith(types...)
}

// wellFleet is a rollout over two namespaces, with an issuer and a Secret, that can start.
func wellFleet() *FleetFacts {
	w := wellFacts()
	in := &FleetInput{Settings: w.Settings.Value, Lease: rolloutLease + "arctic-1", PortForward: true}
	issuer := &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"}
	for i := range 10 {
		n, p := fleetNode("fleet-a", fmt.Sprintf("ax-%d", i), issuer)
		in.Add(n, p, i > 4)
	}
	n, p := fleetNode("fleet-b", "ax-0", &v1alpha1.SidecarTLSConfig{SecretName: "own"})
	in.Add(n, p, false)
	f := &FleetFacts{
		FleetInput: in, CertManager: w.CertManager, Issuers: []FleetIssuer{{IssuerFacts: w.Issuer}},
		Secrets: []FleetSecret{{"fleet-b", "own", found(corev1.SecretTypeTLS)}},
		Schemas: found(Schemas{Served: map[string]bool{"SeiNode": true, "SeiNodeDeployment": true}, Unknown: map[string][]string{}}),
		Read:    w.Settings, Client: w.Client, Me: w.Me, Access: w.Access, Operator: w.Operator,
	}
	for _, ns := range []string{"fleet-a", "fleet-b"} {
		f.Namespaces = append(f.Namespaces, FleetNamespace{TLS: true, NamespaceFacts: NamespaceFacts{Name: ns, ServiceAccount: found(true),
			Reviews: []Access{w.Reviews[0]}, ClientAccess: []Access{w.ClientAccess[0]}}})
	}
	return f
}

func TestAWellFleetPasses(t *testing.T) {
	f := wellFleet()
	lines := CheckFleet(f)
	require.Len(t, lines, len(fleetChecks)+1, "each check once, and the fields of two kinds")
	for _, l := range lines {
		require.Equal(t, OK, l.Result, "%s: %s", l.Check, l.Message)
		require.Empty(t, l.Category)
	}
	require.Equal(t, "ServiceAccount seid-node exists; the same in namespace fleet-b", lineNamed(t, lines, "node-service-account").Message)
	require.Len(t, f.issuers, 1, "one question for ten nodes")
	require.Len(t, f.namespaces[0].plan.Tasks, 2)
}

// Every check that fails says what is wrong and what to do, once for all namespaces, and hides no other.
func TestFleetChecks(t *testing.T) {
	each := func(f *FleetFacts, spoil func(*FleetNamespace)) {
		for i := range f.Namespaces {
			spoil(&f.Namespaces[i])
		}
	}
	for name, c := range map[string]struct {
		spoil   func(f *FleetFacts)
		check   string
		result  Result
		message string
		hint    string
	}{
		"cert-manager is away": {func(f *FleetFacts) { f.CertManager.Lease.Value.Live = false }, "cert-manager-serving", Failed, "does not run",
			"kubectl get pods"},
		"cert-manager does not act": {func(f *FleetFacts) { f.CertManager.Stalled = []string{"CertificateRequest fleet-a/x"} }, "cert-manager-serving",
			Failed, "fleet-a/x", "kubectl get pods"},
		"no issuer": {func(f *FleetFacts) {
			f.Issuers[0].Named, f.Issuers[0].Others = absent(Issuer{Kind: "ClusterIssuer", Name: "x"}), []Issuer{{Kind: "ClusterIssuer", Name: "y"}}
		}, "issuer-exists", Failed, "ClusterIssuer x not found; Ready are ClusterIssuer/y", "--issuer y --issuer-kind ClusterIssuer"},
		"issuer not ready": {func(f *FleetFacts) { f.Issuers[0].Named.Value.Ready = "False" }, "issuer-ready", Failed, "not Ready",
			"kubectl describe clusterissuer arctic-1-ca"},
		"issuer in two namespaces": {func(f *FleetFacts) {
			f.Issuers = nil
			for _, ns := range []string{"fleet-a", "fleet-b"} {
				f.Issuers = append(f.Issuers, FleetIssuer{ns, &IssuerFacts{Named: absent(Issuer{Kind: "Issuer", Namespace: ns, Name: "x"})}})
			}
		}, "issuer-exists", Failed, "Issuer x not found in namespace fleet-a, and no issuer is Ready; the same in namespace fleet-b",
			"kubectl get clusterissuers,issuers -A"},
		"its CA is missing": {func(f *FleetFacts) { f.Issuers[0].CASecret, f.Issuers[0].Named.Value.Ready = absent(true), "False" }, "issuer-ca-secret",
			Failed, "cert-manager/ca", "kubectl create secret tls ca -n cert-manager --cert=ca.crt --key=ca.key"},
		"no Secret": {func(f *FleetFacts) { f.Secrets[0].Type = absent(corev1.SecretType("")) }, "tls-secret", Failed, "Secret fleet-b/own not found",
			"kubectl create secret tls own -n fleet-b --cert=tls.crt --key=tls.key"},
		"Secret of another type": {func(f *FleetFacts) { f.Secrets[0].Type.Value = corev1.SecretTypeOpaque }, "tls-secret", Failed,
			"is of type Opaque, wanted kubernetes.io/tls", "kubectl delete secret own -n fleet-b && kubectl create secret tls own"},
		"Secret may not be seen": {func(f *FleetFacts) { f.Secrets[0].Type = denied[corev1.SecretType]() }, "tls-secret", Skipped, "cannot tell", ""},
		"template CRD old": {func(f *FleetFacts) {
			f.Schemas.Value.Unknown["SeiNodeDeployment"] = []string{"spec.template.spec.sidecar.tls"}
		},
			"crd-fields", Failed, "spec.template.spec.sidecar.tls", "seictl install base --apply"},
		"no proxy image": {func(f *FleetFacts) {
			f.Settings.ProxyImage = ""
			for i := range 5 {
				n, p := fleetNode("fleet-a", fmt.Sprintf("ax-%d", i), &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"})
				f.Add(n, p, false)
			}
		}, "settings", Failed, "(fleet-a/ax-0, fleet-a/ax-1, fleet-a/ax-2 and 2 more)", "kubectl edit configmap seictl-config -n sei-system"},
		"no settings": {func(f *FleetFacts) { f.Read = absent(settings.Default()) }, "settings", Warning, "default settings", "seictl install base --apply"},
		"no ServiceAccounts": {func(f *FleetFacts) { each(f, func(ns *FleetNamespace) { ns.ServiceAccount = absent(true) }) }, "node-service-account", Failed,
			"not found in namespace fleet-a: the pods of nodes need it; the same in namespace fleet-b",
			"seictl install base --apply --node-namespace fleet-a,fleet-b"},
		"one ServiceAccount is missing": {func(f *FleetFacts) { f.Namespaces[1].ServiceAccount = absent(true) }, "node-service-account", Failed,
			"not found in namespace fleet-b: the pods of nodes need it", "seictl install base --apply --node-namespace fleet-b"},
		"no reviews": {func(f *FleetFacts) { each(f, func(ns *FleetNamespace) { ns.Reviews[0].Allowed = false }) }, "node-token-review", Failed,
			"ServiceAccount fleet-a/seid-node may not create tokenreviews: the proxy would refuse everybody; the same in namespace fleet-b",
			"seictl install base --apply --node-namespace fleet-a,fleet-b"},
		"no client": {func(f *FleetFacts) { f.Client = absent(true) }, "client-account", Failed, "seictl-client", "seictl install base --apply"},
		"client shut out": {func(f *FleetFacts) {
			f.Namespaces[0].ClientAccess[0] = Access{Right: Right{Namespace: "fleet-a", Verb: "get"}}
		}, "client-access",
			Failed, "403", "seictl install base --apply"},
		"caller may not": {func(f *FleetFacts) {
			f.Access = []Access{{Right: Right{Namespace: "fleet-a", Resource: "pods", Verb: "delete"}}, {Right: Right{Namespace: "fleet-b", Resource: "pods", Verb: "delete"}},
				{Right: Right{Namespace: settings.Namespace, Resource: "configmaps", Verb: "create"}}}
		}, "your-rights", Failed, "you (alice) may not: delete pods in namespaces fleet-a, fleet-b; create configmaps in namespace sei-system",
			"kubectl create rolebinding seictl-driver-alice --clusterrole=seictl-driver --user=alice -n fleet-a && " +
				"kubectl create rolebinding seictl-driver-alice --clusterrole=seictl-driver --user=alice -n fleet-b && " +
				"kubectl create rolebinding seictl-fleet-alice --role=seictl-fleet --user=alice -n sei-system"},
		"no operator":   {func(f *FleetFacts) { f.Operator = Operator{Deployment: absent(Deployment{})} }, "operator", Warning, "the rollout drives", "seictl install"},
		"operator down": {func(f *FleetFacts) { f.Operator.Deployment.Value.Available = 0 }, "operator", Failed, "no available pod", "kubectl rollout status"},
		"operator down, --drive": {func(f *FleetFacts) { f.Operator.Deployment.Value.Available, f.Drive = 0, true }, "operator", Warning,
			"no available pod", "kubectl rollout status"},
	} {
		t.Run(name, func(t *testing.T) {
			f := wellFleet()
			c.spoil(f)
			lines := CheckFleet(f)
			var l Line
			for i := range lines {
				if lines[i].Check == c.check && (l.Check == "" || lines[i].Result != OK) {
					l = lines[i]
				}
			}
			require.Equal(t, c.result, l.Result, l.Message)
			require.Contains(t, l.Message, c.message)
			require.Contains(t, l.Hint, c.hint)
			require.Equal(t, c.result == Failed, AnyFailed(lines))
		})
	}
}

// Without cert-manager there are no issuers: that is one cause, not three.
func TestASharedCauseOfAFleetIsToldOnce(t *testing.T) {
	f := wellFleet()
	f.CertManager.Missing, f.Issuers[0].Named = absent([]string(nil)), absent(Issuer{Kind: "ClusterIssuer", Name: "x"})
	lines := CheckFleet(f)
	require.Equal(t, 1, Count(lines, Failed), "%+v", lines)
	require.Equal(t, "cert-manager-installed", First(lines, Failed).Check)
}

// What a rollout that turns TLS off does not need must not keep it from running.
func TestAFleetWithoutTLSNeedsNoIssuer(t *testing.T) {
	f := &FleetFacts{FleetInput: &FleetInput{Settings: wellFacts().Settings.Value}}
	n := testNode()
	n.Spec.Sidecar = nil
	f.Add(n, planWith(v1alpha1.TaskReplacePod, v1alpha1.TaskDeleteSidecarCert), false)
	f.Namespaces = []FleetNamespace{{NamespaceFacts: NamespaceFacts{Name: "fleet", ServiceAccount: found(true)}}}
	var names []string
	for _, l := range CheckFleet(f) {
		names = append(names, l.Check)
	}
	require.Equal(t, []string{"crd-fields", "settings", "node-service-account", "your-rights", "operator"}, names)
}

func TestRightsOfAFleet(t *testing.T) {
	f := wellFleet()
	f.Operator = Operator{Deployment: absent(Deployment{})}
	rs := f.rights()
	for _, want := range [][2]string{
		{"seinodes.sei.io", "patch"}, {"seinodedeployments.sei.io", "patch"}, {"seinodes.sei.io", "update"}, {"pods", "delete"},
		{"pods/portforward", "create"}, {"configmaps", "update"}, {"leases.coordination.k8s.io", "update"}, {"certificates.cert-manager.io", "patch"},
	} {
		require.True(t, has(rs, want[0], want[1]), "%v", want)
	}
	f = wellFleet()
	rs = f.rights()
	require.False(t, has(rs, "pods", "delete"), "the operator does that")
	require.True(t, has(rs, "pods/portforward", "create"), "the health gate asks seid all the same")
	f.Drive = true
	require.True(t, has(f.rights(), "pods", "delete"))
}

func TestRulesAnswerForManyRights(t *testing.T) {
	for name, c := range map[string]struct {
		status    authzv1.SubjectRulesReviewStatus
		err       error
		allowed   []bool
		one, many int
	}{
		"all of them": {status: rules(authzv1.ResourceRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}),
			allowed: []bool{true, true, true, true}, many: 1},
		"some": {status: rules(authzv1.ResourceRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}},
			authzv1.ResourceRule{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"*/portforward"}},
			authzv1.ResourceRule{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}, ResourceNames: []string{"x"}}),
			allowed: []bool{true, false, true, true}, many: 1},
		"others by name": {status: rules(authzv1.ResourceRule{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"},
			ResourceNames: []string{"y"}}), allowed: []bool{false, false, false, false}, many: 1},
		"a webhook may know more": {status: authzv1.SubjectRulesReviewStatus{Incomplete: true, ResourceRules: []authzv1.ResourceRule{
			{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}, allowed: []bool{true, true, true, true}, many: 1, one: 3},
		"no rules": {err: errDenied, allowed: []bool{true, true, true, true}, many: 1, one: 4},
	} {
		t.Run(name, func(t *testing.T) {
			kube := kubefake.NewClientset()
			asked := map[string]int{}
			kube.PrependReactor("create", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
				asked[a.GetResource().Resource]++
				if a.GetResource().Resource == "selfsubjectrulesreviews" {
					return true, &authzv1.SelfSubjectRulesReview{Status: c.status}, c.err
				}
				return true, &authzv1.SelfSubjectAccessReview{Status: authzv1.SubjectAccessReviewStatus{Allowed: true}}, nil
			})
			rs := []Right{{Namespace: "fleet", Resource: "pods", Verb: "get"}, {Namespace: "fleet", Resource: "pods", Verb: "delete"},
				{Namespace: "fleet", Resource: "pods", Subresource: "portforward", Verb: "create"},
				{Namespace: "fleet", Group: "apps", Resource: "deployments", Name: "x", Verb: "get"}}
			var got []bool
			for i, a := range (&Collector{Kube: kube}).ruled(t.Context(), rs) {
				require.Equal(t, rs[i], a.Right)
				got = append(got, a.Allowed)
			}
			require.Equal(t, c.allowed, got)
			require.Equal(t, c.many, asked["selfsubjectrulesreviews"])
			require.Equal(t, c.one, asked["selfsubjectaccessreviews"])
		})
	}
}

func rules(rs ...authzv1.ResourceRule) authzv1.SubjectRulesReviewStatus {
	return authzv1.SubjectRulesReviewStatus{ResourceRules: rs}
}
