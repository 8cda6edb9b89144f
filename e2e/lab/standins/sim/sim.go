package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"sei.io/seictl/e2e/lab/internal/faultreg"
)

// hostIP is the address of every node.
const hostIP = "127.0.0.1"

// Options are what a simulator is told at its start.
type Options struct {
	// Config is of an administrator who may impersonate.
	Config *rest.Config
	// Faults is the registry that pods ask.
	Faults *faultreg.Registry
	// Nodes is how many nodes there are.
	Nodes int
	// Network is the second byte of the pods' addresses, 127.<network>.0.0/16: what runs on one machine needs one each.
	Network byte
	// KubeletPort is where the nodes' server listens.
	KubeletPort int
	// Binary is the seictl that the operator's image runs.
	Binary string
	// Settings at the start.
	Settings Settings
	Log      *slog.Logger
}

// Simulator plays the kubelets of its nodes.
type Simulator struct {
	config    *rest.Config
	client    kubernetes.Interface
	faults    *faultreg.Registry
	log       *slog.Logger
	nodes     map[string]bool
	port      int
	binary    string
	settings  settingsStore
	addresses *addresses
	queue     workqueue.TypedRateLimitingInterface[*pod]
	events    record.EventRecorder
	// dirs has the directories of claims, by UID.
	dirs   sync.Map
	synced atomic.Bool

	mu   sync.Mutex
	pods map[types.UID]*pod
	// lives counts the pods that are being run.
	lives sync.WaitGroup
}

// New returns a simulator that does nothing yet.
func New(o Options) (*Simulator, error) {
	config := rest.CopyConfig(o.Config)
	config.QPS = -1 // thousands of pods: the API server's own fairness is limit enough
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return simulator(o, config, client), nil
}

func simulator(o Options, config *rest.Config, client kubernetes.Interface) *Simulator {
	s := &Simulator{
		config: config, client: client, faults: o.Faults, log: o.Log, nodes: map[string]bool{}, port: o.KubeletPort, binary: o.Binary,
		addresses: newAddresses(o.Network), queue: newQueue(), pods: map[types.UID]*pod{},
	}
	s.settings.set(o.Settings)
	for i := range o.Nodes {
		s.nodes[fmt.Sprintf("sim-%d", i)] = true
	}
	return s
}

// Run plays kubelet until ctx ends.
func (s *Simulator) Run(ctx context.Context) error {
	for name := range s.nodes {
		if err := s.makeNode(ctx, name); err != nil {
			return fmt.Errorf("making node %s: %w", name, err)
		}
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: s.client.CoreV1().Events("")})
	s.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: "sim"})
	defer s.queue.ShutDown()
	for range publishers {
		go s.publishAll(ctx)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(strip))
	if err := s.follow(ctx, factory); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	s.synced.Store(true)
	<-ctx.Done()
	factory.Shutdown()
	s.lives.Wait()
	return nil
}

// strip drops what is not looked at: the watch says that a Secret changed, what is in it is read where it is mounted.
func strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		o.ManagedFields = nil
	case *corev1.Secret:
		o.Data, o.ManagedFields, o.Annotations = nil, nil, nil
	case *corev1.ConfigMap:
		o.Data, o.BinaryData, o.ManagedFields, o.Annotations = nil, nil, nil, nil
	}
	return obj, nil
}

// follow reacts to pods, and to what they mount.
func (s *Simulator) follow(ctx context.Context, factory informers.SharedInformerFactory) error {
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.saw(ctx, o) },
		UpdateFunc: func(_, o any) { s.saw(ctx, o) },
		DeleteFunc: s.lost,
	})
	if err != nil {
		return fmt.Errorf("watching pods: %w", err)
	}
	for kind, informer := range map[string]cache.SharedIndexInformer{
		"secret": factory.Core().V1().Secrets().Informer(), "configmap": factory.Core().V1().ConfigMaps().Informer(),
	} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			UpdateFunc: func(before, o any) { s.refill(ctx, kind, before, o) },
			AddFunc:    func(o any) { s.refill(ctx, kind, nil, o) },
		})
		if err != nil {
			return fmt.Errorf("watching every %s: %w", kind, err)
		}
	}
	return nil
}

// saw takes notice of a pod.
func (s *Simulator) saw(ctx context.Context, o any) {
	obj, ok := o.(*corev1.Pod)
	if !ok || !s.nodes[obj.Spec.NodeName] {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, known := s.pods[obj.UID]
	if !known {
		p = s.newPod(obj)
		s.pods[obj.UID] = p
	}
	p.update(obj)
	if !known {
		s.lives.Go(func() { p.live(ctx) })
	}
}

// lost takes notice of a pod that is gone.
func (s *Simulator) lost(o any) {
	if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	obj, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.pods[obj.UID]; ok {
		delete(s.pods, obj.UID)
		p.vanished()
	}
}

// byName is the running pod of a name.
func (s *Simulator) byName(namespace, name string) *pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if p.obj.Name == name && p.obj.Namespace == namespace {
			return p
		}
	}
	return nil
}

// refill brings the files of volumes up to date, some time after what is mounted changed. What was deleted stays mounted.
func (s *Simulator) refill(ctx context.Context, kind string, before, o any) {
	now, ok := o.(metav1.Object)
	if old, was := before.(metav1.Object); !ok || was && old.GetResourceVersion() == now.GetResourceVersion() {
		return
	}
	namespace, name := now.GetNamespace(), now.GetName()
	var users []*pod
	s.mu.Lock()
	for _, p := range s.pods {
		if p.obj.Namespace == namespace && p.mounts(kind, name) {
			users = append(users, p)
		}
	}
	s.mu.Unlock()
	for _, p := range users {
		time.AfterFunc(time.Duration(s.settings.get().Sync), func() { p.refill(ctx) })
	}
}

// makeNode makes a node, ready from the start.
func (s *Simulator) makeNode(ctx context.Context, name string) error {
	nodes := s.client.CoreV1().Nodes()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux",
	}}}
	if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating it: %w", err)
	}
	node, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	if len(node.Spec.Taints) > 0 { // there is no node controller to take them away
		node.Spec.Taints = nil
		if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("taking its taints away: %w", err)
		}
	}
	node.Status = nodeStatus(s.port)
	if _, err := nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing its status: %w", err)
	}
	return nil
}

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

// Handler serves the settings and the simulator's health.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sim/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.synced.Load() {
			http.Error(w, errNotSynced.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /sim/settings", s.settings.read)
	mux.HandleFunc("PUT /sim/settings", s.settings.write)
	return mux
}

var errNotSynced = errors.New("caches are being filled")
