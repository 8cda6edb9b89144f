//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/config"
)

const (
	// operatorImage is made by the lab from the seictl under test.
	operatorImage   = "lab.invalid/seictl:dev"
	operatorAccount = "system:serviceaccount:sei-system:seictl-operator"
)

var operatorKey = types.NamespacedName{Namespace: "sei-system", Name: "seictl-operator"}

// TestOperator installs the operator, runs its scenarios one after the other, compares what it asked of the API server with
// what it may, and removes it.
func TestOperator(t *testing.T) {
	e := newEnv(t)
	shared := newS(t, e, "operator")
	// On a new cluster there is no Lease yet.
	shared.deleteLease()
	offset := shared.auditSize()
	shared.installOperator()
	ran := 0
	for _, sc := range operators {
		t.Run(sc.Name, func(t *testing.T) {
			ran++
			if sc.Kubelet != "" && tier() == tierSim {
				skipScenario(t, sc)
			}
			begun := time.Now()
			t.Cleanup(func() { record(t, sc, time.Since(begun)) })
			s := newS(t, e, sc.Name)
			s.operated = true
			sc.Run(s)
			s.requirePreviewsTrue(sc.Instead, sc.Perhaps)
		})
	}
	t.Run("least-privilege", func(t *testing.T) {
		ran++
		s := *shared
		s.T = t
		s.requireLeastPrivilege(offset)
	})
	requireRows(t, ran)
}

// installOperator installs the operator as a user would, until the test ends.
func (s *S) installOperator() {
	s.Helper()
	s.Cleanup(s.uninstallOperator)
	s.run("install", "operator", "--image", operatorImage, "--apply").exits(done)
	s.eventually("the operator leads", func() error { return s.operatorLeads("") })
}

// operatorArgument adds an argument to the operator that is installed.
func (s *S) operatorArgument(arg string) {
	s.Helper()
	before := s.operatorPod()
	var d appsv1.Deployment
	require.NoError(s, s.client.Get(s.Context(), operatorKey, &d))
	args := &d.Spec.Template.Spec.Containers[0].Args
	*args = append(*args, arg)
	s.update(&d)
	s.eventually("the operator leads with "+arg, func() error { return s.operatorLeads(before) })
}

// operatorLeads says why no operator pod but the one excepted is ready and holds the Lease.
func (s *S) operatorLeads(except string) error {
	var d appsv1.Deployment
	if err := s.client.Get(s.Context(), operatorKey, &d); err != nil {
		return err
	}
	if d.Status.AvailableReplicas != 1 {
		return fmt.Errorf("Deployment: %+v", d.Status)
	}
	holder := s.holder()
	if !strings.HasPrefix(holder, "operator/seictl-operator-") || (except != "" && strings.HasPrefix(holder, "operator/"+except)) {
		return fmt.Errorf("the Lease is held by %q", holder)
	}
	return nil
}

func (s *S) holder() string {
	var l coordinationv1.Lease
	err := s.client.Get(background(), types.NamespacedName{Namespace: "sei-system", Name: "seictl-engine"}, &l)
	if err != nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// deleteLease deletes the Lease that nobody holds, as no other suite runs.
func (s *S) deleteLease() {
	s.Helper()
	l := &coordinationv1.Lease{}
	l.Namespace, l.Name = operatorKey.Namespace, "seictl-engine"
	require.NoError(s, client.IgnoreNotFound(s.client.Delete(s.Context(), l)))
}

// uninstallOperator removes all that was installed: first the Deployment, which needs its rights to release the Lease.
func (s *S) uninstallOperator() {
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = operatorKey.Namespace, operatorKey.Name
	require.NoError(s, client.IgnoreNotFound(s.client.Delete(background(), d, client.PropagationPolicy("Foreground"))))
	require.Eventually(s, func() bool {
		return apierrors.IsNotFound(s.client.Get(background(), operatorKey, d)) && s.holder() == ""
	}, patience, 100*time.Millisecond, "the operator is gone and has released the Lease")
	objects, err := config.Operator(operatorImage)
	require.NoError(s, err)
	for _, o := range objects {
		require.NoError(s, client.IgnoreNotFound(s.client.Delete(background(), o)))
	}
}

// operatorPod is the pod that leads.
func (s *S) operatorPod() string {
	s.Helper()
	name := strings.TrimPrefix(s.holder(), "operator/")
	name, _, _ = strings.Cut(name, "#")
	require.NotEmpty(s, name)
	return name
}

// killOperator ends the leading pod without grace, as by kill -9, and waits until its successor leads.
func (s *S) killOperator() {
	s.Helper()
	name := s.operatorPod()
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = operatorKey.Namespace, name
	require.NoError(s, s.client.Delete(s.Context(), pod, client.GracePeriodSeconds(0)))
	s.eventually("another operator leads", func() error { return s.operatorLeads(name) })
}

// outage counts the pods of a namespace that are down at once.
type outage struct {
	mu    sync.Mutex
	ready map[string]bool
	worst []string
}

// watchOutage watches until the scenario ends. Pods count from the moment they are there.
func (s *S) watchOutage() *outage {
	s.Helper()
	o := &outage{ready: map[string]bool{}}
	factory := informers.NewSharedInformerFactoryWithOptions(s.kube, 0, informers.WithNamespace(s.ns))
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: o.saw, UpdateFunc: func(_, obj any) { o.saw(obj) }, DeleteFunc: o.lost,
	})
	require.NoError(s, err)
	ctx, stop := context.WithCancel(background())
	factory.Start(ctx.Done())
	s.Cleanup(func() { stop(); factory.Shutdown() })
	require.True(s, cache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
	return o
}

func (o *outage) saw(obj any) {
	if pod, ok := obj.(*corev1.Pod); ok {
		o.set(pod.Name, podReady(pod) && pod.DeletionTimestamp == nil)
	}
}

func (o *outage) lost(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		o.set(pod.Name, false)
	}
}

func (o *outage) set(name string, ready bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ready[name] = ready
	var down []string
	for n, r := range o.ready {
		if !r {
			down = append(down, n)
		}
	}
	if len(down) > len(o.worst) {
		o.worst = down
	}
}

// requireAtMost requires that never more pods were down.
func (o *outage) requireAtMost(s *S, n int) {
	s.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.LessOrEqual(s, len(o.worst), n, "down at once: %v", o.worst)
}

// request is one request in the audit log.
type request struct {
	Verb             string
	RequestURI       string
	Stage            string
	User             struct{ Username string }
	ImpersonatedUser *struct{ Username string }
	ObjectRef        *struct{ APIGroup, Resource, Subresource, Namespace, Name string }
	ResponseStatus   struct{ Code int }
	Annotations      map[string]string
	// RequestReceivedTimestamp is when the request came in.
	RequestReceivedTimestamp time.Time
}

func (r *request) resource() string {
	return r.ObjectRef.APIGroup + "/" + strings.TrimSuffix(r.ObjectRef.Resource+"/"+r.ObjectRef.Subresource, "/")
}

// requests are those of a user in the audit log from an offset on.
func (s *S) requests(offset int64, user string) (found []request) {
	s.Helper()
	f, err := os.Open(s.auditLog())
	require.NoError(s, err)
	defer func() { require.NoError(s, f.Close()) }()
	_, err = f.Seek(offset, io.SeekStart)
	require.NoError(s, err)
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return found // what follows is not written yet
		}
		require.NoError(s, err)
		var r request
		require.NoError(s, json.Unmarshal(line, &r))
		who := r.User.Username
		if r.ImpersonatedUser != nil {
			who = r.ImpersonatedUser.Username
		}
		if who == user && r.ObjectRef != nil && r.Stage != "RequestReceived" {
			found = append(found, r)
		}
	}
}

// operatorWrites are the writes of the operator from an offset on, but for the Lease, events, tokens and reviews.
func (s *S) operatorWrites(offset int64) []string {
	s.Helper()
	return s.writesOf(offset, operatorAccount)
}

func (s *S) writesOf(offset int64, user string) (found []string) {
	s.Helper()
	for _, r := range s.requests(offset, user) {
		skip := []string{"coordination.k8s.io/leases", "events.k8s.io/events", "/serviceaccounts/token",
			"authentication.k8s.io/tokenreviews", "authorization.k8s.io/subjectaccessreviews"}
		if !slices.Contains([]string{"get", "list", "watch"}, r.Verb) && !slices.Contains(skip, r.resource()) {
			found = append(found, r.Verb+" "+r.RequestURI)
		}
	}
	return found
}

// requireLeastPrivilege requires that nothing was denied and that every right was used.
func (s *S) requireLeastPrivilege(offset int64) {
	s.Helper()
	used := map[string]bool{}
	for _, r := range s.requests(offset, operatorAccount) {
		// Not by the code: a namespace that goes refuses new objects with the same one.
		require.NotEqual(s, "forbid", r.Annotations["authorization.k8s.io/decision"], "denied: %s %s", r.Verb, r.RequestURI)
		used[r.Verb+" "+r.resource()] = true
		if r.Verb == "patch" && r.ResponseStatus.Code == 201 {
			used["create "+r.resource()] = true // a server-side apply needs both
		}
	}
	objects, err := config.Operator(operatorImage)
	require.NoError(s, err)
	var unused []string
	for _, o := range objects {
		if o.GetName() != operatorKey.Name || (o.GetKind() != "Role" && o.GetKind() != "ClusterRole") {
			continue
		}
		var role rbacv1.ClusterRole
		require.NoError(s, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role))
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					unused = append(unused, right(used, verb, rule.APIGroups[0]+"/"+resource)...)
				}
			}
		}
	}
	require.Empty(s, unused, "granted and never used")
}

// right is the right if it was not used.
func right(used map[string]bool, verb, resource string) []string {
	switch {
	case used[verb+" "+resource]:
	case verb == "list" && used["watch "+resource]: // the API server streams the list
	case strings.HasSuffix(resource, "/finalizers"): // asked by an admission plugin, without a request
	default:
		return []string{verb + " " + resource}
	}
	return nil
}
