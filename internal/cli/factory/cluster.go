package factory

import (
	"context"
	"fmt"
	"os"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/version"
	"sei.io/seictl/pkg/settings"
)

// Cluster is the way to one API server. Its clients read live: nothing is cached.
type Cluster struct {
	Config *rest.Config
	Client client.WithWatch
	Kube   kubernetes.Interface
	// Host names the API server in errors.
	Host string
}

// Scheme knows every type that seictl reads or writes.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	utilruntime.Must(cmv1.AddToScheme(s))
	return s
}

// NoClusterError says that no cluster can be talked to.
type NoClusterError struct{ Reason string }

func (e *NoClusterError) Error() string {
	return "no cluster: " + e.Reason + "; next: set KUBECONFIG or --kubeconfig and --context, and check with 'kubectl version'"
}

// FieldOwner is the field manager of what seictl itself edits.
const FieldOwner = "seictl-cli"

func connect(f *Factory) (*Cluster, error) {
	if !configured(f) {
		return nil, &NoClusterError{Reason: "no kubeconfig with a cluster was found"}
	}
	cfg, err := f.Flags.ToRESTConfig()
	if err != nil {
		return nil, &NoClusterError{Reason: fmt.Sprintf("the kubeconfig cannot be used: %v", err)}
	}
	info := version.Get()
	cfg.UserAgent = fmt.Sprintf("seictl/%s (%s)", info.Version, info.Platform)
	// Warnings of the API server belong on standard error.
	cfg.WarningHandler = rest.NewWarningWriter(f.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	cfg.QPS, cfg.Burst = 50, 100
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: Scheme()})
	if err != nil {
		return nil, fmt.Errorf("building a client for %s: %w", cfg.Host, err)
	}
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("building a client for %s: %w", cfg.Host, err)
	}
	return &Cluster{Config: cfg, Client: c, Kube: kube, Host: cfg.Host}, nil
}

// configured says whether anything names a cluster: client-go would fall back to localhost:8080.
func configured(f *Factory) bool {
	if s := f.Flags.APIServer; s != nil && *s != "" {
		return true
	}
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" || os.Getenv("KUBERNETES_MASTER") != "" {
		return true
	}
	raw, err := f.Flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return !clientcmd.IsEmptyConfig(err)
	}
	return len(raw.Clusters) > 0
}

// Settings reads the platform's settings; without the ConfigMap, the defaults and a warning.
func (c *Cluster) Settings(ctx context.Context) (s settings.Settings, warning string, err error) {
	var cm corev1.ConfigMap
	key := client.ObjectKey{Namespace: settings.Namespace, Name: settings.ConfigMapName}
	switch err := c.Client.Get(ctx, key, &cm); {
	case apierrors.IsNotFound(err):
		return settings.Default(), fmt.Sprintf("ConfigMap %s/%s not found: the default settings are used; next: seictl install base --apply",
			key.Namespace, key.Name), nil
	case err != nil:
		return settings.Settings{}, "", c.Explain(err, "get", "configmaps", key.Namespace, key.Name)
	}
	s, err = settings.Parse(cm.Data)
	if err != nil {
		return settings.Settings{}, "", fmt.Errorf("%w; next: kubectl edit configmap %s -n %s", err, key.Name, key.Namespace)
	}
	return s, "", nil
}

// AnswerWithin bounds a call that is only worth making when a cluster answers soon.
const AnswerWithin = 3 * time.Second
