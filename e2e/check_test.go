//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// checkCase injects one fault, sees the right line of `seictl check` red, follows its hint, and sees it green.
type checkCase struct {
	name string
	// alone is for what others use as well.
	alone bool
	spoil func(s *S)
	check string
	says  string
	hint  string
	// mend is what the hint asks a human to do where it only shows what is wrong; nil runs the hint as it is.
	mend func(s *S, hint string)
}

var checkCases = []checkCase{
	{
		name: "service-account", check: "node-service-account", says: "seid-node not found", hint: "seictl install base --apply --node-namespace",
		spoil: func(s *S) {
			s.stored()
			s.forgetBinding()
			s.delete("seid-node", &corev1.ServiceAccount{})
		},
	},
	{
		name: "token-review", check: "node-token-review", says: "the proxy would refuse everybody", hint: "seictl install base --apply --node-namespace",
		spoil: func(s *S) {
			s.stored(withTLS(chainCA))
			s.forgetBinding()
			s.delete(s.ns, &rbacv1.ClusterRoleBinding{})
		},
	},
	{
		name: "issuer-not-ready", check: "issuer", says: "is not Ready", hint: "kubectl create secret tls own-ca",
		spoil: func(s *S) {
			issuerWithoutCA(s)
			s.stored(withTLS(v1alpha1.SidecarTLSConfig{IssuerName: "own-ca", IssuerKind: "Issuer"}))
		},
	},
	{
		name: "issuer-of-the-other-kind", check: "issuer", says: "a ClusterIssuer of that name exists", hint: "seictl node apply ax-0",
		spoil: func(s *S) { s.stored(withTLS(v1alpha1.SidecarTLSConfig{IssuerName: issuerA, IssuerKind: "Issuer"})) },
		mend:  func(s *S, _ string) { (&Node{s: s, name: "ax-0"}).setTLS(byIssuer(issuerA)) },
	},
	{
		name: "held", check: "nodes-updated", says: "held since", hint: "seictl node retry ax-0",
		spoil: func(s *S) {
			n := s.running().get()
			before := n.DeepCopy()
			n.Status.Hold = &v1alpha1.Hold{
				Target: v1alpha1.PlanTarget{Image: imageV1}, PlanID: "e2e", Reason: "for the test", Since: metav1.Now(),
			}
			require.NoError(s, s.client.Status().Patch(s.Context(), n, client.MergeFrom(before)))
		},
	},
	{
		name: "secret-gone", check: "nodes-tls-secret", says: "TLSSecretNotFound", hint: "kubectl create secret tls own",
		spoil: func(s *S) {
			n, ca := &Node{s: s, name: "ax-0"}, s.authority()
			secret := ca.secretFor(n, "own")
			s.create(secret)
			dir := s.TempDir()
			require.NoError(s, os.WriteFile(filepath.Join(dir, "tls.crt"), secret.Data[corev1.TLSCertKey], 0o600))
			require.NoError(s, os.WriteFile(filepath.Join(dir, "tls.key"), secret.Data[corev1.TLSPrivateKeyKey], 0o600))
			s.preflightState().dir = dir
			s.running(withTLS(*bySecret("own")))
			s.delete("own", &corev1.Secret{})
		},
	},
	{
		name: "waits-for-mark-ready", check: "nodes-mark-ready", says: "mark-ready is due", hint: "seictl node apply ax-0",
		spoil: func(s *S) {
			n := s.running()
			require.NoError(s, s.client.Delete(s.Context(), n.pod()))
		},
	},
	{
		name: "image-unpullable", check: "images-pulled", says: imageNone, hint: "seictl node apply ax-0",
		spoil: func(s *S) {
			s.stored()
			s.create(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "ax-0-0", Labels: map[string]string{v1alpha1.LabelNode: "ax-0"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "seid", Image: imageNone}}},
			})
		},
		mend: func(s *S, _ string) { s.delete("ax-0-0", &corev1.Pod{}) },
	},
	{
		name: "settings", alone: true, check: "images-set", says: "no proxyImage", hint: "kubectl edit configmap seictl-config",
		spoil: func(s *S) { noProxyImage(s) }, mend: func(s *S, _ string) { s.restoreSettings() },
	},
}

func TestCheck(t *testing.T) {
	env := newEnv(t)
	for _, c := range checkCases {
		t.Run(c.name, func(t *testing.T) {
			if !c.alone {
				t.Parallel()
			}
			runCheckCase(newS(t, env, "check"), c)
		})
	}
	// What a preflight tells of the platform, check tells as well.
	for _, c := range preflightCases {
		if !c.alone || c.name == "settings" || c.result == "warning" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			name := c.check
			if name == "crd-fields" {
				name = "seinode-fields"
			}
			s := newS(t, env, "check")
			s.stored(withTLS(chainCA)) // the client's rights are asked for where nodes are
			runCheckCase(s, checkCase{name: c.name, check: name, says: c.says, hint: c.hint, spoil: func(s *S) { c.spoil(s) }, mend: c.mend})
		})
	}
}

func runCheckCase(s *S, c checkCase) {
	c.spoil(s)
	var bad preflightLine
	s.eventually(c.check+" is red", func() error {
		lines := s.checkLines(c.check)
		for _, l := range lines {
			if l.Result == "failed" && strings.Contains(l.Message, c.says) && s.mine(l) {
				bad = l
				return nil
			}
		}
		return fmt.Errorf("%v", lines)
	})
	require.Contains(s, bad.Hint, c.hint)
	s.run("check").exits(failure).says("×", c.check, "hint: "+bad.Hint)
	s.run("check", "-o", "short").exits(failure).says("hint: " + bad.Hint)
	if c.mend != nil {
		c.mend(s, bad.Hint)
	} else {
		s.follow(bad.Hint)
	}
	s.eventually(c.check+" is green", func() error {
		for _, l := range s.checkLines(c.check) {
			if l.Result == "failed" && s.mine(l) {
				return fmt.Errorf("%s", l.Message)
			}
		}
		return nil
	})
}

// mine says whether a line is about this scenario, or about nobody's namespace: others break things at the same time, and the
// lab may have nodes of its own.
func (s *S) mine(l preflightLine) bool {
	if ns, _, ok := strings.Cut(l.Message, "/"); ok && ns != s.ns && !strings.Contains(ns, " ") {
		return false // it begins with a node of another namespace
	}
	return strings.Contains(l.Message+l.Hint, s.ns) || strings.Contains(l.Message, s.chain) || !strings.Contains(l.Message+l.Hint, "e2e-")
}

// checkLines are the lines of one check.
func (s *S) checkLines(name string) (out []preflightLine) {
	s.Helper()
	r := s.run("check", "-o", "json")
	var doc struct{ Checks []preflightLine }
	require.NoError(s, json.Unmarshal([]byte(r.out), &doc), r.text())
	for _, l := range doc.Checks {
		require.NotEmpty(s, l.Category)
		if l.Check == name {
			out = append(out, l)
		}
	}
	require.NotEmpty(s, out, "a fault hides no check")
	return out
}

// A fault that goes away while somebody waits ends the waiting.
func TestCheckWaits(t *testing.T) {
	s := newS(t, newEnv(t), "check-wait")
	s.stored()
	s.delete("seid-node", &corev1.ServiceAccount{})
	began := time.Now()
	waiting := s.command(s.seictl, nil, "check", "--wait", "60s").start()
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "seid-node"}})
	r := waiting.wait()
	require.NotContains(s, r.out, s.ns)
	require.Less(s, time.Since(began), 70*time.Second)
	s.run("check", "--pre").exits(done).says("api-server", "install-rights")
}
