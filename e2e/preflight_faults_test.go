//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// stored is a SeiNode that is there, and that nobody drives.
func (s *S) stored(edits ...func(*v1alpha1.SeiNode)) *v1alpha1.SeiNode {
	s.Helper()
	n := s.manifest("ax-0", edits...)
	s.create(n)
	return n
}

// forgetBinding removes what `install base --node-namespace` binds, when the scenario ends.
func (s *S) forgetBinding() {
	s.Cleanup(func() {
		_ = s.client.Delete(background(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "seid-node-auth-delegator-" + s.ns}})
	})
}

// issuerWithoutCA is a plan with an Issuer whose CA is not there; the hint finds it in files.
func issuerWithoutCA(s *S) []string {
	ca := s.authority()
	ca.issuer("own-ca", false)
	dir := s.TempDir()
	require.NoError(s, os.WriteFile(filepath.Join(dir, "ca.crt"), pemOf("CERTIFICATE", ca.cert.Raw), 0o600))
	require.NoError(s, os.WriteFile(filepath.Join(dir, "ca.key"), keyPEMOf(s, ca.key), 0o600))
	s.preflightState().dir = dir
	return withTLSFile(s, v1alpha1.SidecarTLSConfig{IssuerName: "own-ca", IssuerKind: "Issuer"})
}

// readOnly is the plan of somebody who may look at everything in the namespace, and do nothing.
func readOnly(s *S) []string {
	s.stored()
	as := s.asServiceAccount("reader")
	s.create(&rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: s.ns},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}},
	})
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: s.ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "reader", Namespace: s.ns}},
	})
	// The settings are the platform's: without them the plan is made from the defaults.
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns + "-settings", Namespace: "sei-system"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "reader", Namespace: s.ns}},
	})
	s.Cleanup(func() {
		_ = s.client.Delete(background(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "sei-system", Name: "seictl-driver-" + s.ns + "-reader"}})
	})
	s.preflightState().planner = as
	args := []string{"node", "plan", "ax-0", "-n", s.ns, "--image", imageV2}
	s.eventually("the roles are in force", func() error {
		if r := as.run(args...); r.code != done {
			return same("", r.text())
		}
		return nil
	})
	// Read-only users get a preview, too.
	as.run(args...).exits(done).says("create StatefulSet ax-0", "computed by seictl")
	return args
}

// childOfDeployment is the plan of an edit of a node that a SeiNodeDeployment stamps out.
func childOfDeployment(s *S) []string {
	d := &v1alpha1.SeiNodeDeployment{ObjectMeta: metav1.ObjectMeta{Name: "ax", Namespace: s.ns}}
	d.Spec.Replicas = 1
	d.Spec.Template.Spec = s.manifest("ax-0").Spec
	s.create(d)
	s.stored(func(n *v1alpha1.SeiNode) {
		n.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, v1alpha1.GroupVersion.WithKind("SeiNodeDeployment"))}
	})
	s.Cleanup(func() {
		var got v1alpha1.SeiNodeDeployment
		require.NoError(s, s.client.Get(background(), client.ObjectKeyFromObject(d), &got))
		require.Equal(s, issuerA, got.Spec.Template.Spec.Sidecar.TLS.IssuerName, "the hint edited the template")
	})
	return []string{"node", "plan", "ax-0", "-n", s.ns, "--tls", "--issuer", issuerA}
}

var settingsKey = types.NamespacedName{Namespace: "sei-system", Name: "seictl-config"}

// savedSettings are those of the lab while a scenario changes them.
var savedSettings string

// noProxyImage takes the proxy's image out of the settings.
func noProxyImage(s *S) []string {
	// Made before the settings are broken: a plan needs them.
	args := withTLSFile(s, chainCA)
	s.changeSettings(func(string) string { return "proxyImage: ''\nsidecarImage: lab.invalid/sei-sidecar:v1\n" })
	return args
}

func (s *S) restoreSettings() {
	s.Helper()
	var cm corev1.ConfigMap
	require.NoError(s, s.client.Get(background(), settingsKey, &cm))
	if cm.Data["config.yaml"] != savedSettings {
		cm.Data["config.yaml"] = savedSettings
		require.NoError(s, s.client.Update(background(), &cm))
	}
}

// operatorDown is a plan where an operator is installed, whose image is not there.
func operatorDown(s *S) []string {
	s.Cleanup(s.uninstallOperator)
	s.run("install", "operator", "--image", "lab.invalid/seictl:none", "--apply").exits(done)
	return withTLSFile(s, chainCA)
}

// goodOperator follows the hint with the image that the lab has; the operator goes when the scenario ends.
func goodOperator(s *S, hint string) {
	s.Cleanup(s.uninstallOperator)
	s.follow(strings.Replace(hint, "IMAGE", operatorImage, 1))
	s.eventually("the operator leads", func() error { return s.operatorLeads("") })
}

// changeCRD changes a CRD; it is as it was when the scenario ends.
func (s *S) changeCRD(name string, change func(*apiextensionsv1.CustomResourceDefinition)) {
	s.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	key := types.NamespacedName{Name: name}
	require.NoError(s, s.client.Get(s.Context(), key, &crd))
	spec := crd.Spec.DeepCopy()
	s.Cleanup(func() {
		require.NoError(s, s.client.Get(background(), key, &crd))
		crd.Spec = *spec
		require.NoError(s, s.client.Update(background(), &crd))
	})
	change(&crd)
	require.NoError(s, s.client.Update(s.Context(), &crd))
}

// certManagerLease is the Lease that cert-manager's controller would keep.
func certManagerLease(renewed time.Time) *coordinationv1.Lease {
	at := metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "cert-manager", Name: "cert-manager-controller"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: new("cert-manager-0"), LeaseDurationSeconds: new(int32(60)),
			RenewTime: &at},
	}
}
