//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

var dryRun = client.DryRunAll

// runningAll are new nodes that run, each of a chain of its own: chains share a budget.
func (s *S) runningAll(names ...string) (nodes []*Node) {
	s.Helper()
	var manifests []*v1alpha1.SeiNode
	for _, name := range names {
		manifests = append(manifests, s.manifest(name, func(n *v1alpha1.SeiNode) { n.Spec.ChainID = s.chain + "-" + name }))
		nodes = append(nodes, &Node{s: s, name: name})
	}
	s.bear(manifests...)
	for _, n := range nodes {
		n.requireServing()
	}
	return nodes
}

// births collects the nodes that scenarios want, so that those of several scenarios come up in one command.
type births struct {
	mu   sync.Mutex
	next *litter
}

// litter is the nodes of one command.
type litter struct {
	files []string
	once  sync.Once
	end   result
}

// bear creates nodes, with whatever other scenarios want by the time the command can start.
func (s *S) bear(nodes ...*v1alpha1.SeiNode) {
	s.Helper()
	s.births.mu.Lock()
	if s.births.next == nil {
		s.births.next = &litter{}
	}
	l := s.births.next
	for _, n := range nodes {
		l.files = append(l.files, s.write(n))
	}
	s.births.mu.Unlock()
	l.once.Do(func() {
		s.driving.Lock()
		s.births.mu.Lock()
		s.births.next = nil
		s.births.mu.Unlock()
		args := []string{"node", "apply", "--yes", "--lock-timeout=14m"}
		for _, f := range l.files {
			args = append(args, "-f", f)
		}
		c := s.command(s.seictl, nil, args...).start()
		l.end = <-c.ended
		s.driving.Unlock()
	})
	r := l.end
	r.s = s
	s.Logf("$ %s\n%s(exit %d after %.1fs)", r.line, r.text(), r.code, r.took.Seconds())
	r.exits(done)
}

// background is for cleanups: the scenario's own context has ended by then.
func background() context.Context { return context.Background() }

// awaitRemoval waits until the node's StatefulSet and pod are gone.
func (n *Node) awaitRemoval() {
	n.s.Helper()
	n.s.eventually("the node's objects are gone", func() error {
		for name, o := range map[string]client.Object{
			n.name: &appsv1.StatefulSet{}, n.podName(): &corev1.Pod{}, n.certificateName(): &cmv1.Certificate{},
		} {
			switch err := n.s.get(name, o); {
			case err == nil:
				return fmt.Errorf("%T %s is still there", o, name)
			case !apierrors.IsNotFound(err):
				return err
			}
		}
		return nil
	})
}

// claim is the UID of the node's PersistentVolumeClaim.
func (s *S) claim(n *Node) types.UID {
	s.Helper()
	var pvc corev1.PersistentVolumeClaim
	require.NoError(s, s.get("data-"+n.name, &pvc))
	require.Nil(s, pvc.DeletionTimestamp)
	return pvc.UID
}

// applyAs applies an object server-side, with force, as a manager.
func (s *S) applyAs(manager string, object map[string]any) {
	s.Helper()
	u := &unstructured.Unstructured{Object: object}
	require.NoError(s, s.client.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(u),
		client.FieldOwner(manager), client.ForceOwnership))
}

// applyAgain applies what is there already, as a user of its own whom the audit log tells apart.
func applyAgain(s *S) {
	n := s.running(withTLS(*byIssuer(issuerA)))
	s.eventually("the StatefulSet controller has seen that the pod is Ready", func() error {
		if st := n.statefulSet().Status; st.AvailableReplicas != 1 || st.ReadyReplicas != 1 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	objects, lease := s.versions(), s.lease()
	offset := s.auditSize()
	s.as = "e2e:" + s.ns
	n.cycles(0, func() {
		n.apply().exits(done)
		n.apply("--tls", "--issuer", issuerA).exits(done)
		s.run("node", "plan", n.name, "-n", s.ns, "--detailed-exitcode").exits(done)
	})
	require.Equal(s, lease, s.lease(), "the Lease is untouched")
	require.Equal(s, objects, s.versions(), "no object changed")
	require.Empty(s, s.writes(offset, s.as))
}

// versions are the resource versions of everything in the namespace.
func (s *S) versions() map[string]string {
	s.Helper()
	out := map[string]string{}
	for _, list := range []client.ObjectList{
		&v1alpha1.SeiNodeList{}, &appsv1.StatefulSetList{}, &appsv1.ControllerRevisionList{}, &corev1.PodList{}, &corev1.SecretList{},
		&corev1.ServiceList{}, &corev1.ConfigMapList{}, &corev1.PersistentVolumeClaimList{}, &cmv1.CertificateList{},
		&cmv1.CertificateRequestList{}, &corev1.ServiceAccountList{},
	} {
		require.NoError(s, s.client.List(s.Context(), list, client.InNamespace(s.ns)))
		require.NoError(s, meta.EachListItem(list, func(o runtime.Object) error {
			m, err := meta.Accessor(o)
			if err == nil {
				out[fmt.Sprintf("%T/%s", o, m.GetName())] = m.GetResourceVersion()
			}
			return err
		}))
	}
	return out
}

// lease is the version of the drivers' Lease.
func (s *S) lease() string {
	s.Helper()
	var l coordinationv1.Lease
	require.NoError(s, s.client.Get(s.Context(), types.NamespacedName{Namespace: "sei-system", Name: "seictl-engine"}, &l))
	return l.ResourceVersion
}

func (s *S) auditLog() string { return filepath.Join(s.labDir, "audit.log") }

// auditSize is where the API server's audit log ends now.
func (s *S) auditSize() int64 {
	s.Helper()
	info, err := os.Stat(s.auditLog())
	require.NoError(s, err)
	return info.Size()
}

// writes are the mutating requests of a user in the audit log from an offset on, without those that change nothing:
// reviews, tokens and port-forwards.
func (s *S) writes(offset int64, user string) (found []string) {
	s.Helper()
	f, err := os.Open(s.auditLog())
	require.NoError(s, err)
	defer func() { require.NoError(s, f.Close()) }()
	_, err = f.Seek(offset, io.SeekStart)
	require.NoError(s, err)
	requests := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb             string
			RequestURI       string
			ImpersonatedUser struct{ Username string }
			ObjectRef        struct{ Resource, Subresource string }
		}
		require.NoError(s, json.Unmarshal(lines.Bytes(), &e))
		if e.ImpersonatedUser.Username != user {
			continue
		}
		requests++
		resource := strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
		if slices.Contains([]string{"get", "list", "watch"}, e.Verb) || strings.HasSuffix(resource, "accessreviews") ||
			resource == "serviceaccounts/token" || resource == "pods/portforward" {
			continue
		}
		found = append(found, e.Verb+" "+e.RequestURI)
	}
	require.NoError(s, lines.Err())
	require.Positive(s, requests, "the audit log names user %s", user)
	return found
}
