package dryrun

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// write is what a task would have written.
type write struct {
	// before is the live object; nil when there is none.
	before *unstructured.Unstructured
	// rendered is what the task applied, and after what the API server made of it.
	rendered, after *unstructured.Unstructured
	// clientSide says that the caller may not even try, so that after was computed here.
	clientSide bool
}

// recorder is a client that stores nothing: what is applied or created through it is a dry run, and is kept. Whoever may
// not write gets the result computed from the live object instead.
type recorder struct {
	client.Client
	writes []write
}

// Apply is a server-side apply as a dry run.
func (r *recorder) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	rendered, err := toUnstructured(obj)
	if err != nil {
		return err
	}
	before, err := r.live(ctx, rendered)
	if err != nil {
		return err
	}
	w := write{before: before, rendered: rendered}
	err = r.Client.Apply(ctx, obj, append(opts, client.DryRunAll)...)
	switch {
	case apierrors.IsForbidden(err):
		w.clientSide = true
		if w.after, err = overlay(before, rendered); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if w.after, err = toUnstructured(obj); err != nil {
			return err
		}
	}
	r.writes = append(r.writes, w)
	return nil
}

// Create is a create as a dry run.
func (r *recorder) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	gvk, err := apiutil.GVKForObject(obj, r.Scheme())
	if err != nil {
		return fmt.Errorf("naming the kind of %T: %w", obj, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	rendered, err := toUnstructured(obj)
	if err != nil {
		return err
	}
	err = r.Client.Create(ctx, obj, append(opts, client.DryRunAll)...)
	forbidden := apierrors.IsForbidden(err)
	if err != nil && !forbidden {
		return err
	}
	r.writes = append(r.writes, write{rendered: rendered, after: rendered, clientSide: forbidden})
	return nil
}

// live reads the object that a render would be written over; nil when there is none.
func (r *recorder) live(ctx context.Context, rendered *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(rendered.GroupVersionKind())
	err := r.Get(ctx, client.ObjectKeyFromObject(rendered), live)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s %s: %w", rendered.GetKind(), rendered.GetName(), err)
	}
	return live, nil
}

// Update, Patch, Delete and DeleteAllOf are not for a preview.

// Update refuses.
func (r *recorder) Update(context.Context, client.Object, ...client.UpdateOption) error {
	return errWrites
}

// Patch refuses.
func (r *recorder) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return errWrites
}

// Delete refuses.
func (r *recorder) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	return errWrites
}

// DeleteAllOf refuses.
func (r *recorder) DeleteAllOf(context.Context, client.Object, ...client.DeleteAllOfOption) error {
	return errWrites
}

var errWrites = fmt.Errorf("a preview writes nothing: this is a bug")

// toUnstructured copies an object by way of its JSON, which is what goes over the wire.
func toUnstructured(obj any) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", obj, err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("decoding %T: %w", obj, err)
	}
	return u, nil
}
