package tasks

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sei.io/seictl/pkg/resources"
)

// applyRevision applies the template of an earlier revision as it is, which makes that revision the update revision again:
// the StatefulSet controller finds it by its content. What it adds to a template is whole, defaults included.
func applyRevision(ctx context.Context, env *Env, in Input, revision string) (Result, error) {
	key := client.ObjectKeyFromObject(in.Node)
	sts := &appsv1.StatefulSet{}
	if err := env.Live.Get(ctx, key, sts); apierrors.IsNotFound(err) {
		return Result{}, Terminalf("StatefulSet %s is gone, and with it revision %s: there is nothing to return to", key, revision)
	} else if err != nil {
		return Result{}, fmt.Errorf("reading StatefulSet %s: %w", key, err)
	}
	if n := sts.Spec.Replicas; n != nil && *n == 0 {
		// More than one is brought back to one; none was somebody's wish.
		return Result{}, scaled(sts)
	}
	rev := &appsv1.ControllerRevision{}
	err := env.Live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: revision}, rev)
	switch {
	case apierrors.IsNotFound(err):
		return Result{}, Terminalf("ControllerRevision %s/%s is gone: the template that the node ran before cannot be "+
			"restored; set the spec to what the node should run", key.Namespace, revision)
	case err != nil:
		return Result{}, fmt.Errorf("reading ControllerRevision %s/%s: %w", key.Namespace, revision, err)
	case !metav1.IsControlledBy(rev, sts):
		return Result{}, Terminalf("ControllerRevision %s/%s is not of StatefulSet %s (%s)",
			key.Namespace, revision, key, ownerOf(rev))
	}
	template, err := revisionTemplate(rev)
	if err != nil {
		return Result{}, Terminal(err)
	}
	u, err := withTemplate(in, sts, template)
	if err != nil {
		return Result{}, Terminal(err)
	}
	return apply(ctx, env, in, u)
}

// revisionTemplate takes the pod template out of a revision, which stores it as a strategic merge patch.
func revisionTemplate(rev *appsv1.ControllerRevision) (map[string]any, error) {
	raw := rev.Data.Raw
	if len(raw) == 0 && rev.Data.Object != nil {
		var err error
		if raw, err = utiljson.Marshal(rev.Data.Object); err != nil {
			return nil, fmt.Errorf("reading the data of ControllerRevision %s: %w", rev.Name, err)
		}
	}
	data := map[string]any{}
	if err := utiljson.Unmarshal(raw, &data); err != nil {
		return nil, fmt.Errorf("reading the data of ControllerRevision %s: %w", rev.Name, err)
	}
	template, ok, err := unstructured.NestedMap(data, "spec", "template")
	if err != nil || !ok || len(template) == 0 {
		return nil, fmt.Errorf("ControllerRevision %s holds no pod template", rev.Name)
	}
	delete(template, "$patch")
	// Empty objects stay: an empty label selector, say, is not the same as none.
	prune(template, false)
	return template, nil
}

// withTemplate is the apply configuration that keeps everything of the StatefulSet that we applied, but for the template:
// a field that we left out would be removed.
func withTemplate(in Input, sts *appsv1.StatefulSet, template map[string]any) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(sts)
	if err != nil {
		return nil, fmt.Errorf("converting the StatefulSet: %w", err)
	}
	live := &unstructured.Unstructured{Object: content}
	live.SetManagedFields(sts.ManagedFields)
	ours, _, err := managedFields(live)
	if err != nil {
		return nil, err
	}
	spec, _, _ := unstructured.NestedMap(content, "spec")
	for field := range spec {
		if !claims(ours, "spec", field) {
			delete(spec, field)
		}
	}
	prune(spec, true)
	// Somebody may have scaled it, which made the field theirs: there is one seid to a volume.
	spec["replicas"] = int64(1)
	spec["template"] = template

	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetAPIVersion(appsv1.SchemeGroupVersion.String())
	u.SetKind("StatefulSet")
	u.SetName(sts.Name)
	u.SetNamespace(sts.Namespace)
	u.SetOwnerReferences([]metav1.OwnerReference{resources.OwnerOf(in.Node).Reference()})
	u.SetLabels(claimed(ours, "labels", sts.Labels))
	u.SetAnnotations(claimed(ours, "annotations", sts.Annotations))
	return u, nil
}

// claims says whether a set has a path or anything below it.
func claims(set *fieldpath.Set, path ...any) bool {
	p := fieldpath.MakePathOrDie(path...)
	return set.Has(p) || hasBelow(set, p)
}

// claimed are the entries of a metadata map that we applied; nil for none.
func claimed(ours *fieldpath.Set, field string, entries map[string]string) map[string]string {
	var out map[string]string
	for k, v := range entries {
		if claims(ours, "metadata", field, k) {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}
