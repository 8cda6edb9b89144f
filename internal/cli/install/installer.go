package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
)

const crdKind = "CustomResourceDefinition"

// installer applies objects and says what became of each.
type installer struct {
	cluster *factory.Cluster
	out     io.Writer
}

func resourceOf(o *unstructured.Unstructured) string { return strings.ToLower(o.GetKind()) + "s" }

func (i *installer) explain(err error, verb string, o *unstructured.Unstructured) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%s %s %s: not allowed: %w; next: install as an administrator of the cluster, or hand over the output of seictl install base",
			verb, strings.ToLower(o.GetKind()), o.GetName(), err)
	}
	return i.cluster.Explain(err, verb, resourceOf(o), o.GetNamespace(), o.GetName())
}

func (i *installer) namespacesExist(ctx context.Context, names []string) error {
	for _, name := range names {
		var ns corev1.Namespace
		err := i.cluster.Client.Get(ctx, client.ObjectKey{Name: name}, &ns)
		switch {
		case apierrors.IsNotFound(err):
			return fmt.Errorf("--node-namespace %s: no such namespace; next: kubectl create namespace %s", name, name)
		case err != nil && !apierrors.IsForbidden(err):
			return i.cluster.Explain(err, "get", "namespaces", "", name)
		}
	}
	return nil
}

// get reads what is there of an object; nil when nothing is.
func (i *installer) get(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(o.GroupVersionKind())
	err := i.cluster.Client.Get(ctx, client.ObjectKeyFromObject(o), found)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, i.explain(err, "get", o)
	}
	return found, nil
}

// apply is a server-side apply. Only CRDs are forced: mayReplace looked at them before.
func (i *installer) apply(ctx context.Context, o *unstructured.Unstructured) error {
	before, err := i.get(ctx, o)
	if err != nil {
		return err
	}
	if before != nil && config.KeepExisting(o) {
		i.say(o, "kept as it is")
		return nil
	}
	body, err := json.Marshal(o.Object)
	if err != nil {
		return fmt.Errorf("encoding %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	opts := []client.PatchOption{client.FieldOwner(FieldOwner)}
	if o.GetKind() == crdKind {
		opts = append(opts, client.ForceOwnership)
	}
	got := &unstructured.Unstructured{}
	got.SetGroupVersionKind(o.GroupVersionKind())
	got.SetName(o.GetName())
	got.SetNamespace(o.GetNamespace())
	err = i.cluster.Client.Patch(ctx, got, client.RawPatch(types.ApplyPatchType, body), opts...)
	switch {
	case apierrors.IsConflict(err):
		return fmt.Errorf("apply %s %s: %w; next: undo that edit, or take the object over with kubectl apply --server-side --force-conflicts",
			strings.ToLower(o.GetKind()), o.GetName(), err)
	case err != nil:
		return i.explain(err, "apply", o)
	case before == nil:
		i.say(o, "created")
	case before.GetResourceVersion() == got.GetResourceVersion():
		i.say(o, "unchanged")
	default:
		i.say(o, "changed")
	}
	return nil
}

func (i *installer) say(o *unstructured.Unstructured, what string) {
	name := o.GetName()
	if o.GetNamespace() != "" {
		name = o.GetNamespace() + "/" + name
	}
	fmt.Fprintf(i.out, "%s %s %s\n", strings.ToLower(o.GetKind()), name, what)
}

// established waits until the API server serves the CRDs.
func (i *installer) established(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if o.GetKind() != crdKind {
			continue
		}
		if err := i.await(ctx, o, isEstablished); err != nil {
			return fmt.Errorf("waiting for CustomResourceDefinition %s to be established: %w", o.GetName(), err)
		}
	}
	return nil
}

// await watches an object until it is as wanted.
func (i *installer) await(ctx context.Context, o *unstructured.Unstructured, wanted func(*unstructured.Unstructured) bool) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(o.GroupVersionKind().GroupVersion().WithKind(o.GetKind() + "List"))
	w, err := i.cluster.Client.Watch(ctx, list, &client.ListOptions{
		Namespace: o.GetNamespace(), FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, o.GetName()),
	})
	if err != nil {
		return i.explain(err, "watch", o)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch ended; next: run the command again")
			}
			if got, ok := e.Object.(*unstructured.Unstructured); ok && got.GetName() == o.GetName() && wanted(got) {
				return nil
			}
		}
	}
}

func isEstablished(o *unstructured.Unstructured) bool {
	var crd apiextv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &crd); err != nil {
		return false
	}
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextv1.Established && c.Status == apiextv1.ConditionTrue {
			return true
		}
	}
	return false
}
