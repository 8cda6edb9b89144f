//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// patience is how long a condition may take to come true. It is generous: nothing waits that long unless it is broken.
const patience = 90 * time.Second

// env is what the scenarios share.
type env struct {
	config *rest.Config
	client client.WithWatch
	kube   kubernetes.Interface
	// seictl is the binary of users, failpoints the one that can be killed at a named place.
	seictl, failpoints string
	kubeconfig         string
	labDir             string
	// driving is held by the one command that drives nodes: seictl's own lock would do, but who waits for it looks only
	// every few seconds.
	driving *sync.Mutex
	births  *births
	// promises are the previews that are to come true.
	promises *promises
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{
		seictl: binary(t, "SEICTL_BIN", "seictl"), failpoints: binary(t, "SEICTL_FAILPOINTS_BIN", "seictl-failpoints"),
		kubeconfig: os.Getenv("KUBECONFIG"), labDir: os.Getenv("SEICTL_LAB_DIR"), driving: &sync.Mutex{}, births: &births{},
		promises: &promises{made: map[string][]*promise{}, plans: map[string]*planHistory{}, pods: map[string]*podHistory{}},
	}
	if e.labDir == "" {
		e.labDir = tierDir(t)
	}
	if e.kubeconfig == "" {
		e.kubeconfig = filepath.Join(e.labDir, "kubeconfig")
	}
	var err error
	e.config, err = clientcmd.BuildConfigFromFlags("", e.kubeconfig)
	require.NoError(t, err, "reading the kubeconfig: is the lab up (make lab-up)?")
	e.config.QPS, e.config.Burst = 200, 400
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, v1alpha1.AddToScheme, cmv1.AddToScheme, apiextensionsv1.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	e.client, err = client.NewWithWatch(e.config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	e.kube, err = kubernetes.NewForConfig(e.config)
	require.NoError(t, err)
	suiteLock.Do(func() { lockSuite(t, e.labDir) })
	e.sweep(t)
	pace(t)
	return e
}

// suiteLock keeps suites apart that run on one lab: an operator of one would drive the nodes of the other.
var suiteLock sync.Once

// lockSuite waits for other suites, and holds the lab until the process ends.
func lockSuite(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "e2e.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	require.NoError(t, err)
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		t.Log("another suite runs on this lab: waiting for its end")
		require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	}
	lockFile = f
}

// lockFile stays open, and locked, until the process ends.
var lockFile *os.File

// suiteLabel marks the namespaces of scenarios, with the process that made them.
const suiteLabel = "sei.io/e2e-pid"

// sweep removes what a suite left behind that was killed.
func (e *env) sweep(t *testing.T) {
	t.Helper()
	var left corev1.NamespaceList
	require.NoError(t, e.client.List(t.Context(), &left, client.HasLabels{suiteLabel}))
	for i := range left.Items {
		ns := &left.Items[i]
		if _, err := os.Stat("/proc/" + ns.Labels[suiteLabel]); err == nil {
			continue // another suite is at work
		}
		require.NoError(t, client.IgnoreNotFound(e.client.Delete(t.Context(), ns)))
		b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: ns.Name}}
		require.NoError(t, client.IgnoreNotFound(e.client.Delete(t.Context(), b)))
	}
}

// binary is the path in a variable, or that of bin/.
func binary(t *testing.T, variable, name string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = filepath.Join("..", "bin", name)
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	require.FileExists(t, path, "make build build-failpoints")
	return path
}

// S is one scenario that runs: a namespace, a user's shell, and eyes on the cluster.
type S struct {
	*testing.T
	*env
	ns string
	// chain of the nodes: one of its own, as chains share a budget.
	chain string
	// as is the user that seictl runs as, so that the audit log tells them apart; empty for the kubeconfig's.
	as      string
	history *podHistory
	// operated says that an operator drives: edits take effect by themselves.
	operated bool
}

func newS(t *testing.T, e *env, name string) *S {
	t.Helper()
	suffix := rand.String(5)
	s := &S{T: t, env: e, ns: "e2e-" + name + "-" + suffix, chain: "chain-" + suffix}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns, Labels: map[string]string{suiteLabel: strconv.Itoa(os.Getpid())}}})
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "seid-node", Namespace: s.ns}})
	s.grantReviews()
	s.history = watchPods(t, e.kube, s.ns)
	s.watchPromises()
	t.Cleanup(func() {
		if t.Failed() {
			s.report()
		}
	})
	return s
}

// grantReviews lets the proxies of the namespace ask who calls.
func (s *S) grantReviews() *rbacv1.ClusterRoleBinding {
	s.Helper()
	b := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "seid-node", Namespace: s.ns}},
	}
	s.create(b)
	return b
}

// create creates an object that goes when the scenario ends.
func (s *S) create(o client.Object) {
	s.Helper()
	require.NoError(s, s.client.Create(s.Context(), o))
	s.Cleanup(func() {
		// The scenario's own context has ended.
		if err := client.IgnoreNotFound(s.client.Delete(context.Background(), o)); err != nil {
			s.Logf("deleting %s: %v", o.GetName(), err)
		}
	})
}

func (s *S) get(name string, o client.Object) error {
	return s.client.Get(s.Context(), types.NamespacedName{Namespace: s.ns, Name: name}, o)
}

// eventually waits until check has nothing to complain about.
func (s *S) eventually(what string, check func() error) {
	s.Helper()
	s.eventuallyIn(s.Context(), what, check)
}

// eventuallyIn is eventually in a context of its own, for cleanups.
func (s *S) eventuallyIn(ctx context.Context, what string, check func() error) {
	s.Helper()
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	require.NoError(s, err, "%s: %v", what, last)
}

// report says how things stand when a scenario failed.
func (s *S) report() {
	for _, args := range [][]string{
		{"get", "seinodes", "-o", "yaml", "--show-managed-fields=false"},
		{"get", "pods,certificates,certificaterequests,secrets,sts,pvc", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
	} {
		cmd := exec.CommandContext(context.Background(), "lab/lab.sh", append([]string{"kubectl", "-n", s.ns}, args...)...)
		out, err := cmd.CombinedOutput()
		s.Logf("kubectl %s (%v)\n%s", strings.Join(args, " "), err, shortened(string(out)))
	}
	s.Logf("pods seen: %s", shortened(fmt.Sprint(s.history.all())))
}

// mostReported is how much of one output a report has, in bytes: benchmarks have thousands of nodes.
const mostReported = 64 << 10

func shortened(text string) string {
	if len(text) <= mostReported {
		return text
	}
	return fmt.Sprintf("%s\n... and %d KiB more", text[:mostReported], (len(text)-mostReported)>>10)
}

// podHistory has the UIDs of all pods that ever were in a namespace, in order, by name.
type podHistory struct {
	mu   sync.Mutex
	uids map[string][]types.UID
}

func watchPods(t *testing.T, kube kubernetes.Interface, ns string) *podHistory {
	t.Helper()
	h := &podHistory{uids: map[string][]types.UID{}}
	factory := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(ns))
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { h.saw(o) },
		UpdateFunc: func(_, o any) { h.saw(o) },
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		stop()
		factory.Shutdown()
	})
	require.True(t, cache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
	return h
}

func (h *podHistory) saw(o any) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if seen := h.uids[pod.Name]; len(seen) == 0 || seen[len(seen)-1] != pod.UID {
		h.uids[pod.Name] = append(seen, pod.UID)
	}
}

// of are the UIDs of a pod's incarnations.
func (h *podHistory) of(name string) []types.UID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]types.UID{}, h.uids[name]...)
}

func (h *podHistory) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprint(h.uids)
}
