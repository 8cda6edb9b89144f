package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// applyObject applies a rendered object server-side, and is done when no other manager has a say in what it renders.
func applyObject(ctx context.Context, env *Env, in Input, want client.Object) (Result, error) {
	u, err := applyConfiguration(want)
	if err != nil {
		return Result{}, Terminal(err)
	}
	return apply(ctx, env, in, u)
}

// apply is one server-side apply. It is forced over an object of this node and never over another. The UID of the object
// that the decision was made on goes with it: a stale cache ends in a conflict, not in a foreign object overwritten.
func apply(ctx context.Context, env *Env, in Input, u *unstructured.Unstructured) (Result, error) {
	s, err := standingOf(ctx, env, in.Node, u)
	if err != nil {
		return Result{}, err
	}
	if s.wait != nil {
		return *s.wait, nil
	}
	what := describe(u)
	opts := []client.ApplyOption{client.FieldOwner(FieldManager)}
	if s.live != nil {
		u.SetUID(s.live.GetUID())
		opts = append(opts, client.ForceOwnership)
	}
	if err := env.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), opts...); err != nil {
		return Result{}, applyError(u, err, in.Node)
	}
	env.hit("applied", in)
	foreign, err := foreignField(u)
	if err != nil {
		return Result{}, err
	}
	if foreign != nil {
		return Result{}, Terminalf("%s: field %s belongs to manager %q and is not part of what seictl renders; have that "+
			"manager give it up (or delete the field as that manager), then run `seictl node retry %s -n %s`",
			what, foreign.path, foreign.manager, in.Node.Name, in.Node.Namespace)
	}
	return Completed(&v1alpha1.TaskOutput{Generation: u.GetGeneration()}), nil
}

// applyError tells an apply that no retry can help from one that a retry may.
func applyError(u *unstructured.Unstructured, err error, node *v1alpha1.SeiNode) error {
	isCertManager := u.GroupVersionKind().Group == certmanager.GroupName
	err = fmt.Errorf("applying %s: %w", describe(u), err)
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err) && isCertManager:
		// A type that discovery still knew is a plain 404.
		return noMatch(err, node)
	case apierrors.IsInvalid(err) && !uidChanged(err), apierrors.IsBadRequest(err):
		return Terminal(err)
	}
	return err
}

// noMatch is the error of a cluster that does not know cert-manager's types: every other kind is built in.
func noMatch(err error, node *v1alpha1.SeiNode) error {
	return Terminalf("cert-manager is not installed in this cluster: install it (its CRDs above all), then run "+
		"`seictl node retry %s -n %s`; or provision the Secret yourself and set sidecar.tls.secretName: %w",
		node.Name, node.Namespace, err)
}

// uidChanged says that the object was replaced since it was read: the API server reports the immutable UID as invalid.
func uidChanged(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool {
		return c.Field == "metadata.uid"
	})
}

// applyConfiguration turns a rendered object into what is applied: without what would claim fields that nobody rendered.
func applyConfiguration(obj client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("converting %T: %w", obj, err)
	}
	delete(content, "status")
	prune(content, true)
	u := &unstructured.Unstructured{Object: content}
	if u.GetKind() == "" || u.GetAPIVersion() == "" {
		return nil, fmt.Errorf("rendered %T has no kind: this is a bug", obj)
	}
	return u, nil
}

// neverMeant are the fields that the Go types cannot leave out when they are empty. An emptyDir is not among them: empty is
// what it means.
var neverMeant = map[string]bool{"resources": true, "securityContext": true, "strategy": true, "updateStrategy": true}

// prune removes nulls and, on request, the empty objects that the Go types force upon us.
func prune(v any, empties bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, field := range v {
			prune(field, empties)
			m, isMap := field.(map[string]any)
			if field == nil || empties && isMap && len(m) == 0 && neverMeant[k] {
				delete(v, k)
			}
		}
	case []any:
		for _, item := range v {
			prune(item, empties)
		}
	}
}
