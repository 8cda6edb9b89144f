package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sei.io/seictl/config"
)

// issuePatience is how long an installation waits for the certificate of the operator's metrics. A Secret that is there when
// the pod starts is served from the start; one that comes later is mounted at the kubelet's next sync.
const issuePatience = 20 * time.Second

// metricsCertificate applies what cert-manager needs to issue the certificate of the operator's metrics and waits for it, and
// returns the other objects. The operator does its work without: then a note says what is lacking. The error is for after the
// rest was applied.
func (i *installer) metricsCertificate(ctx context.Context, objects []*unstructured.Unstructured) (rest []*unstructured.Unstructured, note string, err error) {
	var last *unstructured.Unstructured
	for _, o := range objects {
		switch {
		case !config.NeedsCertManager(o):
			rest = append(rest, o)
		case err != nil:
		case !i.knows(o.GroupVersionKind()):
			note = "cert-manager is not installed: /metrics of the operator has a self-signed certificate, which Prometheus refuses; " +
				"next: run this command again when it is"
		default:
			err = i.apply(ctx, o)
			last = o
		}
	}
	switch {
	case err != nil:
		err = fmt.Errorf("the operator is installed, the certificate of its metrics is not: %w; "+
			"next: repair cert-manager and run this command again", err)
	case last != nil && !i.issued(ctx, last):
		note = fmt.Sprintf("the certificate of /metrics is not issued yet, until then Prometheus refuses it; next: kubectl describe certificate %s -n %s",
			last.GetName(), last.GetNamespace())
	}
	return rest, note, err
}

func (i *installer) knows(gvk schema.GroupVersionKind) bool {
	_, err := i.cluster.Client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	return !meta.IsNoMatchError(err)
}

// issued waits until a Certificate is Ready, for a while.
func (i *installer) issued(ctx context.Context, o *unstructured.Unstructured) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, issuePatience, errors.New("not issued"))
	defer cancel()
	return i.await(ctx, o, isIssued) == nil
}

func isIssued(o *unstructured.Unstructured) bool {
	var c cmv1.Certificate
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &c); err != nil {
		return false
	}
	for _, condition := range c.Status.Conditions {
		if condition.Type == cmv1.CertificateConditionReady {
			return condition.Status == cmmeta.ConditionTrue && condition.ObservedGeneration == c.Generation
		}
	}
	return false
}
