//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// requireSchema holds the output of a command against a schema of the documentation.
func (r result) requireSchema(name string) result {
	r.s.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(filepath.Join("..", "docs", "schemas", name))
	require.NoError(r.s, err)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(r.out))
	require.NoError(r.s, err, "%s\n%s", r.line, r.text())
	require.NoError(r.s, schema.Validate(v), r.out)
	return r
}

// explanation is the part of the JSON that is looked at.
type explanation struct {
	Cause *struct {
		Code, Object, Message string
		Since                 *time.Time
	}
	Next []string
}

func (n *Node) explain() explanation {
	n.s.Helper()
	r := n.s.run("node", "explain", n.name, "-n", n.s.ns, "-o", "json").exits(done).requireSchema("node-explain.json")
	var doc struct{ Items []explanation }
	require.NoError(n.s, json.Unmarshal([]byte(r.out), &doc))
	require.Len(n.s, doc.Items, 1)
	return doc.Items[0]
}

// explains waits until the decisive cause is the one given, and requires what is said of it.
func (n *Node) explains(code, object string, says ...string) explanation {
	n.s.Helper()
	var got explanation
	n.s.eventually(fmt.Sprintf("node explain %s names %s", n.name, code), func() error {
		got = n.explain()
		if got.Cause == nil || got.Cause.Code != code {
			return fmt.Errorf("cause %+v", got.Cause)
		}
		return nil
	})
	require.Contains(n.s, got.Cause.Object, object)
	for _, text := range says {
		require.Contains(n.s, got.Cause.Message, text)
	}
	require.NotEmpty(n.s, got.Next)
	// The text says the same.
	n.s.run("node", "explain", n.name, "-n", n.s.ns).exits(done).says(n.s.ns+"/"+n.name, "next: ")
	return got
}

// Each node hangs on something else. Those that wait before anything is driven come first; then one command drives those
// that fail on their way.
func TestExplain(t *testing.T) {
	s := newS(t, newEnv(t), "explain")
	names := []string{"missing", "kind", "unready", "nosecret", "sans", "parked", "behind", "image", "crash", "forbid", "waits"}
	nodes := map[string]*Node{}
	var manifests []*v1alpha1.SeiNode
	for _, name := range append(names, "queued-a", "queued-b") {
		chain := s.chain + "-" + name
		if strings.HasPrefix(name, "queued") {
			chain = s.chain
		}
		manifests = append(manifests, s.manifest(name, func(n *v1alpha1.SeiNode) { n.Spec.ChainID = chain }))
		nodes[name] = &Node{s: s, name: name}
	}
	s.bear(manifests...)
	for _, n := range nodes {
		n.requireServing()
	}
	explainUndriven(s, nodes)
	explainDriven(s, nodes)
	e := nodes["image"].explains("Held", "SeiNode "+s.ns+"/image", "rolled back", imageNone)
	require.Contains(s, e.Next[0], "seictl node retry image -n "+s.ns)
}

func explainUndriven(s *S, nodes map[string]*Node) {
	ca := s.authority()
	nodes["missing"].setTLS(byIssuer(issuerNone))
	e := nodes["missing"].explains("IssuerMissing", "ClusterIssuer "+issuerNone, "there is no such ClusterIssuer")
	require.Contains(s, e.Next[0], "--issuer "+issuerA)

	nodes["kind"].setTLS(&v1alpha1.SidecarTLSConfig{IssuerName: issuerA, IssuerKind: "Issuer"})
	e = nodes["kind"].explains("IssuerWrongKind", "Issuer "+s.ns+"/"+issuerA, "there is a ClusterIssuer of that name")
	require.Contains(s, e.Next[0], "--issuer "+issuerA)

	ca.issuer("no-secret", false)
	nodes["nosecret"].setTLS(&v1alpha1.SidecarTLSConfig{IssuerName: "no-secret", IssuerKind: "Issuer"})
	e = nodes["nosecret"].explains("CASecretMissing", "Secret "+s.ns+"/no-secret", "it does not exist")
	require.Contains(s, e.Next[0], "kubectl create secret tls no-secret -n "+s.ns)

	garbage := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "garbage", Namespace: s.ns},
		Data: map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")}}
	s.create(garbage)
	ca.issuer("garbage", false)
	nodes["unready"].setTLS(&v1alpha1.SidecarTLSConfig{IssuerName: "garbage", IssuerKind: "Issuer"})
	nodes["unready"].explains("IssuerNotReady", "Issuer "+s.ns+"/garbage", "it is not Ready: ")

	cert, key := ca.pair(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "other.example")
	s.create(ca.secret("other-names", cert, key))
	nodes["sans"].setTLS(bySecret("other-names"))
	nodes["sans"].explains("SecretSANsMismatch", "Secret "+s.ns+"/other-names", nodes["sans"].names()[0])

	nodes["parked"].fault(sidecar, "status-503", nil)
	nodes["parked"].explains("SidecarNotReady", "container sei-sidecar", "it answers 503")

	nodes["behind"].fault(seid, "catching-up", nil)
	nodes["behind"].explains("SeidCatchingUp", "container seid", "catching_up")
}

func explainDriven(s *S, nodes map[string]*Node) {
	nodes["image"].setImage(imageNone)
	nodes["crash"].fault(proxy, "crash-loop", nil)
	nodes["forbid"].fault(proxy, "forbid", nil)
	args := []string{"node", "apply", "-n", s.ns, "--yes", lockPatience, "--skip-preflight", "image", "crash", "forbid", "queued-a", "queued-b"}
	for _, name := range []string{"crash", "forbid"} {
		nodes[name].setTLS(byIssuer(issuerA))
	}
	for _, name := range []string{"queued-a", "queued-b"} {
		nodes[name].fault(seid, "slow-stop", map[string]any{"seconds": 20})
		nodes[name].setImage(imageV2)
	}
	apply := s.command(s.seictl, nil, args...).start()
	s.eventually("one of two waits for the other", func() error {
		for _, name := range []string{"queued-a", "queued-b"} {
			if e := nodes[name].explain(); e.Cause != nil && e.Cause.Code == "BudgetWait" {
				require.Contains(s, e.Cause.Object, "chain "+s.chain)
				require.Contains(s, e.Cause.Message, "the budget of chain")
				return nil
			}
		}
		return fmt.Errorf("neither is queued")
	})
	// It is edited while that command drives the others.
	nodes["waits"].setImage(imageV2)
	nodes["waits"].explains("LockWait", "Lease sei-system/seictl-engine", "drives other nodes")
	nodes["image"].explains("ImageUnpullable", "Pod "+s.ns+"/image-0", imageNone)
	nodes["crash"].explains("ProxyCrashLoop", "container kube-rbac-proxy", "keeps failing")
	nodes["forbid"].explains("ProxyForbidden", "container kube-rbac-proxy", "403")
	apply.wait().exits(failed)
}

// Requests need approval: nobody acts on one, then somebody denies it. Nothing else may want a certificate meanwhile.
func TestExplainApproval(t *testing.T) {
	s := newS(t, newEnv(t), "explain-approval")
	n := s.running()
	s.withoutApprover()
	apply := n.applying("--tls", "--issuer", issuerA)
	n.explains("ApproverIdle", "CertificateRequest "+s.ns+"/", "neither approved nor denied")
	var list cmv1.CertificateRequestList
	require.NoError(s, s.client.List(s.Context(), &list, client.InNamespace(s.ns)))
	require.NotEmpty(s, list.Items)
	for i := range list.Items {
		at := metav1.Now()
		list.Items[i].Status.Conditions = append(list.Items[i].Status.Conditions, cmv1.CertificateRequestCondition{
			Type: cmv1.CertificateRequestConditionDenied, Status: cmmeta.ConditionTrue, Reason: "policy", Message: "not these names", LastTransitionTime: &at,
		})
		require.NoError(s, s.client.Status().Update(s.Context(), &list.Items[i]))
	}
	apply.wait().exits(failed)
	e := n.explains("RequestDenied", "CertificateRequest "+s.ns+"/", "not these names")
	require.Contains(s, e.Next[0], "seictl node retry "+n.name)
}
