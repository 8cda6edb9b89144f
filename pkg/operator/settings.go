package operator

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	"sei.io/seictl/pkg/settings"
)

// Reasons of events about the settings.
const (
	// ReasonSettingsInvalid (Warning): the settings cannot be used; the last good ones stay in force.
	ReasonSettingsInvalid = "SettingsInvalid"
	// ReasonSettingsLoaded: new settings are in force.
	ReasonSettingsLoaded = "SettingsLoaded"
)

// liveSettings are the platform's settings as they are now, or were when they were good last.
type liveSettings struct {
	kube     kubernetes.Interface
	log      logr.Logger
	recorder events.EventRecorder
	// changed is called after new settings came into force.
	changed func()

	mu      sync.Mutex
	current settings.Settings
	// bad is the resourceVersion of settings that cannot be used: they are told of once.
	bad string
}

// loadSettings reads the settings. Invalid ones are an error: there are no last good ones yet, and the defaults may be far
// from what is meant.
func loadSettings(ctx context.Context, kube kubernetes.Interface, log logr.Logger) (*liveSettings, error) {
	l := &liveSettings{kube: kube, log: log, changed: func() {}}
	cm, err := kube.CoreV1().ConfigMaps(settings.Namespace).Get(ctx, settings.ConfigMapName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		log.Info("no settings: the defaults are used until they appear", "configMap", settings.ConfigMapName)
		l.current = settings.Default()
		return l, nil
	case err != nil:
		return nil, fmt.Errorf("reading ConfigMap %s/%s: %w", settings.Namespace, settings.ConfigMapName, err)
	}
	if l.current, err = settings.Parse(cm.Data); err != nil {
		return nil, err
	}
	return l, nil
}

// Get returns the settings in force. They are shared: never changed.
func (l *liveSettings) Get() settings.Settings {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// NeedLeaderElection says that every replica follows the settings.
func (l *liveSettings) NeedLeaderElection() bool { return false }

// Start follows the settings until ctx ends.
func (l *liveSettings) Start(ctx context.Context) error {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, settings.ConfigMapName).String()
	factory := informers.NewSharedInformerFactoryWithOptions(l.kube, 0, informers.WithNamespace(settings.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = only }))
	informer := factory.Core().V1().ConfigMaps().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    l.load,
		UpdateFunc: func(_, obj any) { l.load(obj) },
		DeleteFunc: func(any) { l.log.Info("the settings were deleted: the last ones stay in force") },
	})
	if err != nil {
		return fmt.Errorf("watching the settings: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

func (l *liveSettings) load(obj any) {
	cm, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return
	}
	s, err := settings.Parse(cm.Data)
	l.mu.Lock()
	switch {
	case err != nil && l.bad == cm.ResourceVersion:
		l.mu.Unlock()
		return
	case err != nil:
		l.bad = cm.ResourceVersion
		l.mu.Unlock()
		l.log.Error(err, "the settings cannot be used: the last good ones stay in force")
		l.tell(cm, corev1.EventTypeWarning, ReasonSettingsInvalid, err.Error()+"; the last good settings stay in force")
		return
	}
	same := reflect.DeepEqual(l.current, s)
	recovered := l.bad != ""
	l.current, l.bad = s, ""
	l.mu.Unlock()
	if same && !recovered {
		return
	}
	l.log.Info("new settings are in force", "resourceVersion", cm.ResourceVersion)
	l.tell(cm, corev1.EventTypeNormal, ReasonSettingsLoaded, "these settings are in force")
	l.changed()
}

func (l *liveSettings) tell(cm *corev1.ConfigMap, eventType, reason, message string) {
	if l.recorder != nil {
		l.recorder.Eventf(cm, nil, eventType, reason, "Load", "%s", note(message))
	}
}
