//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// preflightCase breaks one thing, sees the line and its hint, follows the hint, and sees the check pass.
type preflightCase struct {
	name string
	// alone is for what others use as well.
	alone bool
	// spoil breaks it and returns the command whose preflight tells, "node plan …".
	spoil func(s *S) []string
	check string
	// result is failed, unless it only warns.
	result string
	says   string
	hint   string
	// mend is what the hint asks a human to do where it only shows what is wrong; nil runs the hint as it is.
	mend func(s *S, hint string)
	// after is the command that passes then; the same one when it is nil.
	after []string
}

// preflightLine is a check in the JSON of plan and check.
type preflightLine struct{ Category, Check, Result, Message, Hint string }

// withTLSFile is the plan of a node that does not exist yet, from a file.
func withTLSFile(s *S, tls v1alpha1.SidecarTLSConfig) []string {
	s.Helper()
	return []string{"node", "plan", "-f", s.write(s.manifest("ax-0", withTLS(tls)))}
}

var chainCA = v1alpha1.SidecarTLSConfig{IssuerName: issuerA}

var preflightCases = []preflightCase{
	{
		name: "namespace", check: "namespace", says: "not found", hint: "kubectl create namespace",
		spoil: func(s *S) []string {
			ns := s.ns + "-new"
			s.Cleanup(func() {
				_ = s.client.Delete(background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
			})
			return []string{"node", "plan", "-f", s.write(s.manifest("ax-0", func(n *v1alpha1.SeiNode) { n.Namespace = ns }))}
		},
	},
	{
		name: "issuer-of-the-other-kind", check: "issuer-exists", says: "a ClusterIssuer of that name exists: add --issuer-kind ClusterIssuer",
		hint: "--issuer-kind ClusterIssuer",
		spoil: func(s *S) []string {
			return withTLSFile(s, v1alpha1.SidecarTLSConfig{IssuerName: issuerA, IssuerKind: "Issuer"})
		},
		mend: mendByFlags,
	},
	{
		name: "issuer-missing", check: "issuer-exists", says: "not found; Ready are ClusterIssuer/", hint: "seictl node plan -f",
		spoil: func(s *S) []string { return withTLSFile(s, v1alpha1.SidecarTLSConfig{IssuerName: issuerNone}) },
		mend:  mendByFlags,
	},
	{
		name: "issuer-not-ready", check: "issuer-ready", says: "is not Ready", hint: "kubectl create secret tls own-ca", spoil: issuerWithoutCA,
	},
	{
		name: "issuer-ca-secret", check: "issuer-ca-secret", says: "the CA of Issuer own-ca", hint: "kubectl create secret tls own-ca",
		spoil: issuerWithoutCA,
	},
	{
		name: "service-account", check: "node-service-account", says: "seid-node not found", hint: "seictl install base --apply --node-namespace",
		spoil: func(s *S) []string {
			s.forgetBinding()
			s.delete("seid-node", &corev1.ServiceAccount{})
			return withTLSFile(s, chainCA)
		},
	},
	{
		name: "token-review", check: "node-token-review", says: "the proxy would refuse everybody", hint: "seictl install base --apply --node-namespace",
		spoil: func(s *S) []string {
			s.forgetBinding()
			s.delete(s.ns, &rbacv1.ClusterRoleBinding{})
			return withTLSFile(s, chainCA)
		},
	},
	{
		name: "your-rights", check: "your-rights", says: "statefulsets.apps", hint: "kubectl create rolebinding seictl-driver-", spoil: readOnly,
	},
	{
		name: "parent", check: "other-writers", says: "is a child of SeiNodeDeployment ax", hint: "kubectl patch seinodedeployment ax",
		spoil: childOfDeployment, after: []string{"node", "plan", "ax-0"},
	},
	{
		name: "argo-cd", check: "other-writers", result: "warning", says: "Argo CD (fleet-app)", hint: "argocd app diff fleet-app",
		spoil: func(s *S) []string {
			s.stored(func(n *v1alpha1.SeiNode) {
				n.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "fleet-app:sei.io/SeiNode:" + s.ns + "/ax-0"}
			})
			return []string{"node", "plan", "ax-0", "-n", s.ns, "--tls", "--issuer", issuerA}
		},
		mend: func(s *S, _ string) { // as Argo CD does, once it is in the repository
			n := &Node{s: s, name: "ax-0"}
			n.setTLS(byIssuer(issuerA))
		},
		after: []string{"node", "plan", "ax-0"},
	},
	{
		name: "another-controller", check: "other-writers", says: "seinode-controller", hint: "kubectl get deployments -A",
		spoil: func(s *S) []string {
			n := s.stored()
			before := n.DeepCopy()
			n.Status.Phase, n.Status.CurrentImage = v1alpha1.PhaseRunning, imageV1
			require.NoError(s, s.client.Status().Patch(s.Context(), n, client.MergeFrom(before), client.FieldOwner("seinode-controller")))
			return []string{"node", "plan", "ax-0", "-n", s.ns, "--tls", "--issuer", issuerA}
		},
		mend: func(s *S, _ string) { // as ten quiet minutes do
			n := (&Node{s: s, name: "ax-0"}).get()
			n.ManagedFields = []metav1.ManagedFieldsEntry{{}}
			s.update(n)
		},
	},
	{
		name: "foreign-object", check: "objects", says: "is not this node's", hint: "kubectl get certificate ax-0-sidecar-tls",
		spoil: func(s *S) []string {
			theirs := certificateFor(s.ns, "ax-0-sidecar-tls", "theirs", "somebody.example")
			s.create(theirs)
			return withTLSFile(s, chainCA)
		},
		mend: func(s *S, _ string) { s.delete("ax-0-sidecar-tls", &cmv1.Certificate{}) },
	},
	{
		name: "settings", alone: true, check: "settings", says: "proxyImage", hint: "kubectl edit configmap seictl-config", spoil: noProxyImage,
		mend: func(s *S, _ string) { s.restoreSettings() },
	},
	{
		name: "client-account", alone: true, check: "client-account", says: "seictl-client, which calls sidecars, not found", hint: "seictl install base --apply",
		spoil: func(s *S) []string {
			require.NoError(s, s.client.Delete(s.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "sei-system", Name: "seictl-client"}}))
			return withTLSFile(s, chainCA)
		},
	},
	{
		name: "client-access", alone: true, check: "client-access", says: "the proxy would answer 403", hint: "seictl install base --apply",
		spoil: func(s *S) []string {
			require.NoError(s, s.client.Delete(s.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "seictl-client"}}))
			return withTLSFile(s, chainCA)
		},
	},
	{
		name: "crd-fields", alone: true, check: "crd-fields", says: "does not know spec.sidecar.tls", hint: "seictl install base --apply",
		spoil: func(s *S) []string {
			s.changeCRD("seinodes.sei.io", func(crd *apiextensionsv1.CustomResourceDefinition) {
				schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
				delete(schema.Properties["spec"].Properties["sidecar"].Properties, "tls")
				schema.XValidations = slices.DeleteFunc(schema.XValidations, func(r apiextensionsv1.ValidationRule) bool {
					return strings.Contains(r.Rule, "sidecar.tls")
				})
			})
			return withTLSFile(s, chainCA)
		},
	},
	{
		name: "cert-manager-installed", alone: true, check: "cert-manager-installed", says: "does not serve", hint: "kubectl get crd",
		spoil: func(s *S) []string {
			s.changeCRD("certificaterequests.cert-manager.io", func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[0].Served = false })
			return withTLSFile(s, chainCA)
		},
		mend: func(s *S, _ string) {
			s.changeCRD("certificaterequests.cert-manager.io", func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[0].Served = true })
		},
	},
	{
		name: "cert-manager-serving", alone: true, check: "cert-manager-serving", says: "nobody has renewed Lease cert-manager/cert-manager-controller",
		hint: "kubectl get pods -A -l app.kubernetes.io/name=cert-manager",
		spoil: func(s *S) []string {
			s.create(certManagerLease(time.Now().Add(-time.Hour)))
			return withTLSFile(s, chainCA)
		},
		mend: func(s *S, _ string) {
			l := certManagerLease(time.Now())
			renewed := l.Spec.RenewTime
			require.NoError(s, s.client.Get(s.Context(), client.ObjectKeyFromObject(l), l))
			l.Spec.RenewTime = renewed
			s.update(l)
		},
	},
	{
		name: "operator-missing", alone: true, check: "operator", result: "warning", says: "no operator is installed",
		hint: "seictl install operator --image IMAGE --apply", spoil: func(s *S) []string { return withTLSFile(s, chainCA) }, mend: goodOperator,
	},
	{
		name: "operator-down", alone: true, check: "operator", says: "has no available pod: nobody would carry out the plan",
		hint: "kubectl rollout status deployment seictl-operator", spoil: operatorDown, mend: func(s *S, hint string) {
			goodOperator(s, "seictl install operator --image IMAGE --apply")
			s.follow(hint)
		},
	},
}

func TestPreflight(t *testing.T) {
	env := newEnv(t)
	for _, c := range preflightCases {
		t.Run(c.name, func(t *testing.T) {
			if !c.alone {
				t.Parallel()
			}
			runPreflightCase(newS(t, env, "preflight"), c)
		})
	}
}

func runPreflightCase(s *S, c preflightCase) {
	args := c.spoil(s)
	want := c.result
	if want == "" {
		want = "failed"
	}
	bad := s.awaitCheck(c.check, want, args)
	require.Contains(s, bad.Message, c.says)
	require.Contains(s, bad.Hint, c.hint)
	// People see the same, and the hint can be copied.
	s.planner().run(args...).exits(done).says("preflight", "hint: "+bad.Hint)
	if want == "failed" {
		apply := append([]string{"node", "apply", "--yes"}, args[2:]...)
		s.planner().run(apply...).exits(failure).says("preflight", "nothing was changed")
	}
	switch {
	case c.mend != nil:
		c.mend(s, bad.Hint)
	default:
		s.follow(bad.Hint)
	}
	if c.after != nil {
		args = append(append([]string{}, c.after...), "-n", s.ns)
	}
	good := s.preflight(args)[c.check]
	if good.Check == "" && c.after != nil {
		return // nothing is due any more
	}
	s.awaitCheck(c.check, "ok", args)
}

// preflightState is what a scenario sets aside.
type preflightState struct {
	// planner is the scenario as the user who plans, where that is not the administrator.
	planner *S
	// dir holds the files that hints name.
	dir string
}

// preflightStates of the scenarios that run, by *testing.T.
var preflightStates sync.Map

func (s *S) preflightState() *preflightState {
	state, _ := preflightStates.LoadOrStore(s.T, &preflightState{})
	return state.(*preflightState)
}

// planner is the scenario as the user who plans.
func (s *S) planner() *S {
	if p := s.preflightState().planner; p != nil {
		return p
	}
	return s
}

// preflight runs a plan and returns its checks by name.
func (s *S) preflight(args []string) map[string]preflightLine {
	s.Helper()
	r := s.planner().run(append(append([]string{}, args...), "-o", "json")...).exits(done)
	var doc struct {
		Items []struct{ Preflight []preflightLine }
	}
	require.NoError(s, json.Unmarshal([]byte(r.out), &doc), r.out)
	require.Len(s, doc.Items, 1)
	out := map[string]preflightLine{}
	for _, l := range doc.Items[0].Preflight {
		out[l.Check] = l
	}
	return out
}

// awaitCheck waits until a check has a result: caches of the API server follow a change within moments.
func (s *S) awaitCheck(check, result string, args []string) (line preflightLine) {
	s.Helper()
	s.eventually("check "+check+" is "+result, func() error {
		lines := s.preflight(args)
		if line = lines[check]; line.Result != result {
			return fmt.Errorf("%s: %s", line.Result, line.Message)
		}
		return nil
	})
	return line
}

// follow runs a hint as a human would: copied into a shell, as the administrator.
func (s *S) follow(hint string) string {
	s.Helper()
	bin := s.TempDir()
	cache := os.Getenv("SEICTL_LAB_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		require.NoError(s, err)
		cache = filepath.Join(dir, "seictl-lab")
	}
	require.NoError(s, os.Symlink(filepath.Join(cache, "bin", "kubectl"), filepath.Join(bin, "kubectl")))
	require.NoError(s, os.Symlink(s.seictl, filepath.Join(bin, "seictl")))
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Minute)
	defer cancel()
	if strings.HasPrefix(hint, "seictl node apply") || strings.HasPrefix(hint, "seictl node retry") {
		// Scenarios share the lock of the lab.
		hint += " " + lockPatience
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", hint)
	cmd.Dir = s.preflightState().dir
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "KUBECONFIG=" + s.kubeconfig, "HOME=" + bin}
	out, err := cmd.CombinedOutput()
	s.Logf("$ %s\n%s", hint, out)
	require.NoError(s, err, "the hint: %s\n%s", hint, out)
	return string(out)
}

// mendByFlags runs the hint, a plan with other flags, and requires that the check passes there.
func mendByFlags(s *S, hint string) {
	out := s.follow(hint)
	require.NotContains(s, out, "issuer-exists")
	require.Contains(s, out, "preflight")
	// The file is what the user corrects then.
	name := "ax-0.yaml"
	for _, field := range strings.Fields(hint) {
		if strings.HasSuffix(field, name) {
			s.correctIssuer(field)
		}
	}
}

func (s *S) correctIssuer(path string) {
	s.Helper()
	data, err := os.ReadFile(path)
	require.NoError(s, err)
	text := strings.NewReplacer("issuerName: "+issuerNone, "issuerName: "+issuerA, "issuerKind: Issuer", "issuerKind: ClusterIssuer").Replace(string(data))
	require.NoError(s, os.WriteFile(path, []byte(text), 0o600))
}
