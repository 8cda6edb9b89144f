// Package provisioner makes hostPath volumes for the claims of the lab's
// storage class, and removes them when they are released.
package provisioner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

// What binds claims, volumes and this program together.
const (
	name        = "seictl.lab/hostpath"
	class       = "lab-hostpath"
	selectedKey = "volume.kubernetes.io/selected-node"
	provisioned = "pv.kubernetes.io/provisioned-by"
)

// provisioner has one worker: a lab has few claims.
type provisioner struct {
	client  kubernetes.Interface
	dir     string
	claims  cache.Indexer
	volumes cache.Indexer
	queue   workqueue.TypedRateLimitingInterface[item]
}

// item is a claim or a volume that may need work.
type item struct{ kind, key string }

// Run provisions into directories under dir until the context ends.
func Run(ctx context.Context, kubeconfig, dir, health string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	volumes := factory.Core().V1().PersistentVolumes().Informer()
	p := &provisioner{
		client: client, dir: dir, claims: claims.GetIndexer(), volumes: volumes.GetIndexer(),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[item](50*time.Millisecond, 5*time.Second)),
	}
	for kind, informer := range map[string]cache.SharedIndexInformer{"claim": claims, "volume": volumes} {
		enqueue := func(obj any) {
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				p.queue.Add(item{kind, key})
			}
		}
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: enqueue, UpdateFunc: func(_, obj any) { enqueue(obj) },
		})
		if err != nil {
			return fmt.Errorf("watching every %s: %w", kind, err)
		}
	}
	var ready atomic.Bool
	failed := make(chan error, 1)
	go func() { failed <- serveHealth(ctx, health, &ready) }()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	ready.Store(true)
	go p.work(ctx)
	defer p.queue.ShutDown()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// work handles one item after the other; a failed one comes again later.
func (p *provisioner) work(ctx context.Context) {
	for {
		it, shutdown := p.queue.Get()
		if shutdown {
			return
		}
		handle := p.claim
		if it.kind == "volume" {
			handle = p.volume
		}
		if err := handle(ctx, it.key); err != nil {
			fmt.Fprintf(os.Stderr, "%s %s: %v\n", it.kind, it.key, err)
			p.queue.AddRateLimited(it)
		} else {
			p.queue.Forget(it)
		}
		p.queue.Done(it)
	}
}

// claim makes the volume of a claim once the scheduler chose its pod's node.
func (p *provisioner) claim(ctx context.Context, key string) error {
	obj, ok, err := p.claims.GetByKey(key)
	if err != nil {
		return fmt.Errorf("looking it up: %w", err)
	}
	if !ok {
		return nil
	}
	claim := obj.(*corev1.PersistentVolumeClaim)
	spec := claim.Spec
	if spec.StorageClassName == nil || *spec.StorageClassName != class || spec.VolumeName != "" ||
		claim.Annotations[selectedKey] == "" || claim.DeletionTimestamp != nil {
		return nil
	}
	path := filepath.Join(p.dir, string(claim.UID))
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	// Past the umask: pods run as any user, and hostPath knows no fsGroup.
	if err := os.Chmod(path, 0o777); err != nil {
		return fmt.Errorf("opening the directory to every user: %w", err)
	}
	kind := corev1.HostPathDirectory
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + string(claim.UID), Annotations: map[string]string{provisioned: name}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:         corev1.ResourceList{corev1.ResourceStorage: spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:      spec.AccessModes,
			StorageClassName: class, VolumeMode: spec.VolumeMode,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
		},
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating the volume: %w", err)
	}
	return nil
}

// volume removes a released volume of ours, directory first.
func (p *provisioner) volume(ctx context.Context, key string) error {
	obj, ok, err := p.volumes.GetByKey(key)
	if err != nil {
		return fmt.Errorf("looking it up: %w", err)
	}
	if !ok {
		return nil
	}
	volume := obj.(*corev1.PersistentVolume)
	if volume.Annotations[provisioned] != name || volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete ||
		volume.Spec.HostPath == nil || filepath.Dir(volume.Spec.HostPath.Path) != p.dir {
		return nil
	}
	if err := os.RemoveAll(volume.Spec.HostPath.Path); err != nil {
		return fmt.Errorf("removing the directory: %w", err)
	}
	err = p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting the volume: %w", err)
	}
	return nil
}

// serveHealth answers 200 once claims are being watched.
func serveHealth(ctx context.Context, address string, ready *atomic.Bool) error {
	server := &http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			if !ready.Load() {
				http.Error(w, "caches are being filled", http.StatusServiceUnavailable)
			}
		})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving /healthz: %w", err)
	}
	return nil
}
