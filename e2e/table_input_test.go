//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"sei.io/seictl/api/v1alpha1"
)

// badInputs are commands that cannot work, and rights that do or do not suffice.
var badInputs = []Scenario{
	{
		Name: "bad-input", Gate: tierReal,
		Happens: "A name, a namespace, a file, a flag or the kubeconfig is wrong.",
		See:     "One line that says what was found and what to do; exit code 1; nothing changed.",
		Do:      "What the line says.",
		Run:     badInput,
	},
	{
		Name:    "no-rights",
		Happens: "seictl runs as a ServiceAccount without rights, then as one with the roles that `install base` brings.",
		See:     "Without rights one line names verb, resource and user. With the roles everything works: they are enough.",
		Do:      "Bind the ClusterRole seictl-driver in the nodes' namespaces, the Role seictl-driver in sei-system, and seictl-driver-cluster.",
		Run:     noRights,
	},
	{
		Name: "secret-unreadable", Catalogue: []int{20}, Gate: tierSim,
		Instead: []string{"NodeUpdate failed at wait-for-sidecar-tls-secret; pod cycles: 0"},
		Happens: "RBAC lets the driver do everything but read Secrets, and TLS is turned on.",
		See: "TLSSecretUnavailable, with the API server's words: nobody says that the Secret does not exist. The plan tries until its " +
			"deadline, exit code 4. The pod is not touched. With the right the next attempt goes through.",
		Do:  "Bind the ClusterRole seictl-driver in the namespace, then `seictl node retry NAME`.",
		Run: secretUnreadable,
	},
	{
		Name: "old-crd", Alone: true,
		Instead: []string{"nothing"},
		Happens: "The installed SeiNode CRD is older and does not know spec.sidecar.tls: the API server drops the field.",
		See:     "seictl notices that what it wrote is not there, says so, and exits with 1. The pod is not touched.",
		Do:      "`seictl install base --apply`.",
		Run:     oldCRD,
	},
}

func badInput(s *S) {
	s.run("node", "apply", "nobody", "-n", s.ns, "--tls", "--issuer", issuerA, "--yes").exits(failure).oneLine().says("nobody", s.ns)
	s.run("node", "status", "nobody", "-n", "no-such-namespace").exits(failure).oneLine().says("nobody", "no-such-namespace")
	s.run("node", "apply", "-f", "/no/such/file.yaml", "--yes").exits(failure).oneLine().says("/no/such/file.yaml")
	bad := s.file("bad.yaml", `{apiVersion: sei.io/v1alpha1, kind: SeiNode, metadata: {name: ax-0}, spec: {chainId: c, image: i, fullNode: {}, sidecar: {tsl: {}}}}`)
	s.run("node", "apply", "-f", bad, "-n", s.ns, "--yes").exits(failure).oneLine().says("tsl")
	both := s.file("both.yaml", `{apiVersion: sei.io/v1alpha1, kind: SeiNode, metadata: {name: ax-0}, spec: {chainId: c, image: i, fullNode: {}, sidecar: {tls: {issuerName: a, secretName: b}}}}`)
	s.run("node", "apply", "-f", both, "-n", s.ns, "--yes").exits(failure).oneLine().says("issuerName", "secretName")
	s.run("node", "apply", "ax-0", "-n", s.ns, "--tls", "--issuer", "a", "--secret", "b", "--yes").exits(failure).oneLine()
	var nodes v1alpha1.SeiNodeList
	require.NoError(s, s.client.List(s.Context(), &nodes))
	for i := range nodes.Items {
		require.NotEqual(s, s.ns, nodes.Items[i].Namespace, "nothing was created")
	}

	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	require.NoError(s, err)
	for _, c := range config.Clusters {
		c.Server = "https://127.0.0.1:9"
	}
	args := []string{"node", "status", "ax-0", "-n", s.ns}
	s.with(config).run(args...).exits(failure).oneLine().says("127.0.0.1:9")
	s.with(clientcmdapi.NewConfig()).run(args...).exits(failure).oneLine().says("kubeconfig")
}

// with is the same scenario with another kubeconfig.
func (s *S) with(config *clientcmdapi.Config) *S {
	s.Helper()
	data, err := clientcmd.Write(*config)
	require.NoError(s, err)
	other, e := *s, *s.env
	e.kubeconfig = s.file("kubeconfig", string(data))
	other.env = &e
	return &other
}

// asServiceAccount is the same scenario as a ServiceAccount of the namespace.
func (s *S) asServiceAccount(name string) *S {
	s.Helper()
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.ns}})
	token, err := s.kube.CoreV1().ServiceAccounts(s.ns).CreateToken(s.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(s, err)
	config, err := clientcmd.LoadFromFile(s.kubeconfig)
	require.NoError(s, err)
	for _, c := range config.Contexts {
		c.AuthInfo = name
	}
	config.AuthInfos = map[string]*clientcmdapi.AuthInfo{name: {Token: token.Status.Token}}
	return s.with(config)
}

func noRights(s *S) {
	n := s.running()
	as := s.asServiceAccount("ci")
	user := "system:serviceaccount:" + s.ns + ":ci"
	(&Node{s: as, name: n.name}).apply("--tls", "--issuer", issuerA).exits(failure).oneLine().says(user, "seinodes")
	s.bindDriver("ci", "ClusterRole", "seictl-driver")
	limited := &Node{s: as, name: n.name}
	n.cycles(1, func() { limited.apply("--tls", "--issuer", issuerA).exits(done) })
	n.requireTLS("ClusterIssuer/" + issuerA)
	n.cycles(1, func() { limited.apply("--no-tls").exits(done) })
	n.requireNoTLSLeft()
}

// bindDriver lets a ServiceAccount of the scenario drive, with a role in its namespace and what drivers need elsewhere.
func (s *S) bindDriver(account, kind, role string) {
	s.Helper()
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: s.ns}}
	ref := func(kind, name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: s.ns}, RoleRef: ref(kind, role), Subjects: subjects,
	})
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns, Namespace: "sei-system"}, RoleRef: ref("Role", "seictl-driver"), Subjects: subjects,
	})
	s.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns + "-driver"}, RoleRef: ref("ClusterRole", "seictl-driver-cluster"), Subjects: subjects,
	})
}

// secretUnreadable has a driver with all rights of its role but to read what is in Secrets.
func secretUnreadable(s *S) {
	n := s.running()
	as := s.asServiceAccount("ci")
	var whole rbacv1.ClusterRole
	require.NoError(s, s.client.Get(s.Context(), types.NamespacedName{Name: "seictl-driver"}, &whole))
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "blind", Namespace: s.ns}, Rules: whole.DeepCopy().Rules}
	for i, rule := range role.Rules {
		if slices.Contains(rule.Resources, "secrets") {
			role.Rules[i].Verbs = slices.DeleteFunc(rule.Verbs, func(verb string) bool { return verb == "get" })
		}
	}
	require.NotEqual(s, whole.Rules, role.Rules)
	s.create(role)
	s.bindDriver("ci", "Role", role.Name)
	limited := &Node{s: as, name: n.name}
	n.cycles(0, func() {
		limited.apply("--tls", "--issuer", issuerA).exits(failed).says(v1alpha1.ReasonTLSSecretUnavailable, "could not be read", "forbidden")
	})
	n.requireCondition(v1alpha1.ConditionSidecarTLSSecretReady, metav1.ConditionUnknown, v1alpha1.ReasonTLSSecretUnavailable, "forbidden")
	n.requireServing()
	role.Rules = whole.Rules
	s.update(role)
	n.cycles(1, func() { limited.retry() })
	n.requireTLS("ClusterIssuer/" + issuerA)
}

// oldCRD takes spec.sidecar.tls out of the CRD for a while.
func oldCRD(s *S) {
	n := s.running()
	var crd apiextensionsv1.CustomResourceDefinition
	key := types.NamespacedName{Name: "seinodes.sei.io"}
	require.NoError(s, s.client.Get(s.Context(), key, &crd))
	spec := crd.Spec.DeepCopy()
	s.Cleanup(func() {
		require.NoError(s, s.client.Get(background(), key, &crd))
		crd.Spec = *spec
		require.NoError(s, s.client.Update(background(), &crd))
		s.awaitTLSField(background(), true)
	})
	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	schema.XValidations = slices.DeleteFunc(schema.XValidations, func(r apiextensionsv1.ValidationRule) bool {
		return strings.Contains(r.Rule, "sidecar.tls")
	})
	delete(schema.Properties["spec"].Properties["sidecar"].Properties, "tls")
	require.NoError(s, s.client.Update(s.Context(), &crd))
	s.awaitTLSField(s.Context(), false)
	n.cycles(0, func() { n.apply("--tls", "--issuer", issuerA).exits(failure).says("CRD", "sidecar.tls") })
}

// awaitTLSField waits until the API server serves the CRD with or without the field.
func (s *S) awaitTLSField(ctx context.Context, there bool) {
	s.Helper()
	probe := s.manifest("probe", withTLS(*byIssuer(issuerA)))
	s.eventuallyIn(ctx, "the API server serves the changed CRD", func() error {
		o := probe.DeepCopy()
		if err := s.client.Create(ctx, o, dryRun); err != nil {
			return err
		}
		if got := o.SidecarTLS() != nil; got != there {
			data, err := json.Marshal(o.Spec)
			require.NoError(s, err)
			return same("", string(data))
		}
		return nil
	})
}
