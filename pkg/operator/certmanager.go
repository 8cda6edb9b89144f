package operator

import (
	"context"
	"fmt"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"sei.io/seictl/api/v1alpha1"
)

// certManagerCRD is the CRD that says that cert-manager is there.
const certManagerCRD = "certificates.cert-manager.io"

// certManagerWatches adds the watches on cert-manager's kinds to a controller as soon as the cluster knows them: cert-manager
// may be installed after us, or never.
type certManagerWatches struct {
	mgr        ctrl.Manager
	controller controller.Controller
	log        logr.Logger
}

// Start waits for the CRDs, adds the watches and ends.
func (w *certManagerWatches) Start(ctx context.Context) error {
	c, err := metadata.NewForConfig(w.mgr.GetConfig())
	if err != nil {
		return fmt.Errorf("building a client for CRDs: %w", err)
	}
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, certManagerCRD).String()
	factory := metadatainformer.NewFilteredSharedInformerFactory(c, 0, metav1.NamespaceAll,
		func(o *metav1.ListOptions) { o.FieldSelector = only })
	informer := factory.ForResource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")).Informer()
	seen := make(chan struct{}, 1)
	notify := func() {
		select {
		case seen <- struct{}{}:
		default: // one is enough
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(_, _ any) { notify() },
	}); err != nil {
		return fmt.Errorf("watching for cert-manager: %w", err)
	}
	watchCtx, stop := context.WithCancel(ctx)
	factory.Start(watchCtx.Done())
	defer func() { stop(); factory.Shutdown() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-seen:
		}
		if w.known(ctx) {
			return w.add()
		}
	}
}

// known says whether the API server serves cert-manager's kinds; it does a moment after their CRDs appear.
func (w *certManagerWatches) known(ctx context.Context) bool {
	const every, patience = 500 * time.Millisecond, 30 * time.Second
	err := wait.PollUntilContextTimeout(ctx, every, patience, true, func(context.Context) (bool, error) {
		return HasCertManager(w.mgr.GetRESTMapper()), nil
	})
	return err == nil
}

func (w *certManagerWatches) add() error {
	owner := handler.EnqueueRequestForOwner(w.mgr.GetScheme(), w.mgr.GetRESTMapper(), &v1alpha1.SeiNode{}, handler.OnlyControllerOwner())
	for _, watch := range []struct {
		kind client.Object
		wake handler.EventHandler
	}{
		{&cmv1.Certificate{}, owner},
		{&cmv1.CertificateRequest{}, handler.EnqueueRequestsFromMapFunc(byCertificateName)},
	} {
		kind := namedSource{SyncingSource: source.Kind(w.mgr.GetCache(), watch.kind, watch.wake), name: fmt.Sprintf("kind source: %T", watch.kind)}
		if err := w.controller.Watch(kind); err != nil {
			return fmt.Errorf("watching %T: %w", watch.kind, err)
		}
	}
	w.log.Info("watching cert-manager's Certificates and CertificateRequests")
	return nil
}

// namedSource is logged by its name.
type namedSource struct {
	source.SyncingSource
	name string
}

// MarshalText implements encoding.TextMarshaler.
func (s namedSource) MarshalText() ([]byte, error) { return []byte(s.name), nil }
