package node

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/drift"
)

// writeAttempts is how often a write is tried against a node whose status changes all the time.
const writeAttempts = 8

// write writes the edit of a target and returns the node as it was stored. A dry run stores nothing.
func (t *target) write(ctx context.Context, c *factory.Cluster, dryRun bool) (*v1alpha1.SeiNode, error) {
	if t.object != nil {
		return t.apply(ctx, c, dryRun)
	}
	return t.patch(ctx, c, dryRun)
}

// patch is an optimistic merge patch of what the flags changed. A write of the status in between is no reason to give up;
// one of spec, labels or annotations is.
func (t *target) patch(ctx context.Context, c *factory.Cluster, dryRun bool) (*v1alpha1.SeiNode, error) {
	live := t.live
	for range writeAttempts {
		want := live.DeepCopy()
		want.Spec, want.Labels, want.Annotations = t.node.Spec, t.node.Labels, t.node.Annotations
		opts := []client.PatchOption{client.FieldOwner(factory.FieldOwner)}
		if dryRun {
			opts = append(opts, client.DryRunAll)
		}
		err := c.Client.Patch(ctx, want, client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{}), opts...)
		switch {
		case err == nil:
			return want, t.readBack(want)
		case !apierrors.IsConflict(err):
			return nil, t.explain(c, err, "patch")
		}
		fresh := &v1alpha1.SeiNode{}
		if err := c.Client.Get(ctx, client.ObjectKeyFromObject(live), fresh); err != nil {
			return nil, t.explain(c, err, "get")
		}
		if !equality.Semantic.DeepEqual(fresh.Spec, t.live.Spec) ||
			!equality.Semantic.DeepEqual(fresh.Annotations, t.live.Annotations) ||
			!equality.Semantic.DeepEqual(fresh.Labels, t.live.Labels) {
			return nil, fmt.Errorf("SeiNode %s was changed meanwhile by %s; nothing was written; next: run the command again",
				client.ObjectKeyFromObject(live), lastManager(fresh))
		}
		live = fresh
	}
	return nil, fmt.Errorf("SeiNode %s changes faster than it can be written; next: run the command again", client.ObjectKeyFromObject(live))
}

// lastManager is who wrote the spec last.
func lastManager(n *v1alpha1.SeiNode) string {
	name := "somebody"
	var at metav1.Time
	for i := range n.ManagedFields {
		if f := &n.ManagedFields[i]; f.Subresource == "" && f.Time != nil && !f.Time.Before(&at) {
			name, at = fmt.Sprintf("%q", f.Manager), *f.Time
		}
	}
	return name
}

// apply is a server-side apply of what the file says, forced only over our own edits by flags.
func (t *target) apply(ctx context.Context, c *factory.Cluster, dryRun bool) (*v1alpha1.SeiNode, error) {
	body, err := applyBody(t.node, t.object)
	if err != nil {
		return nil, err
	}
	opts := []client.PatchOption{client.FieldOwner(factory.FieldOwner)}
	if dryRun {
		opts = append(opts, client.DryRunAll)
	}
	patch := client.RawPatch(types.ApplyPatchType, body)
	got := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: t.node.Namespace, Name: t.node.Name}}
	err = c.Client.Patch(ctx, got, patch, opts...)
	if apierrors.IsConflict(err) {
		if conflict := conflictText(err); conflict != "" {
			return nil, fmt.Errorf("SeiNode %s/%s: %s; next: change it where that manager does, or by flag (seictl node apply %s --image …)",
				t.node.Namespace, t.node.Name, conflict, t.node.Name)
		}
		err = c.Client.Patch(ctx, got, patch, append(opts, client.ForceOwnership)...)
	}
	if err != nil {
		return nil, t.explain(c, err, "apply")
	}
	return got, t.readBack(got)
}

var conflictWith = regexp.MustCompile(`conflict with "([^"]+)"`)

// conflictText names field and manager of the conflicts with others than ourselves; empty when there are none.
func conflictText(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return err.Error()
	}
	var out []string
	causes := 0
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		causes++
		m := conflictWith.FindStringSubmatch(cause.Message)
		if len(m) == 2 && m[1] == factory.FieldOwner {
			continue
		}
		manager := cause.Message
		if len(m) == 2 {
			manager = fmt.Sprintf("is owned by field manager %q", m[1])
		}
		out = append(out, strings.TrimPrefix(cause.Field, ".")+" "+manager)
	}
	if causes == 0 {
		return err.Error()
	}
	return strings.Join(out, ", ")
}

// readBack compares what was stored with what was written: a CRD that does not know a field prunes it in silence.
func (t *target) readBack(got *v1alpha1.SeiNode) error {
	if equality.Semantic.DeepEqual(got.Spec, t.node.Spec) {
		return nil
	}
	lost := drift.DiffFields(t.node.Spec, got.Spec, "spec")
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("SeiNode %s/%s: %s was written and is not there: the CRD in the cluster does not know it, or a webhook takes it out; "+
		"next: seictl install base --apply", t.node.Namespace, t.node.Name, strings.Join(lost, ", "))
}

// explain says why a write was refused.
func (t *target) explain(c *factory.Cluster, err error, verb string) error {
	if apierrors.IsInvalid(err) {
		var status apierrors.APIStatus
		if errors.As(err, &status) && status.Status().Details != nil {
			var causes []string
			for _, cause := range status.Status().Details.Causes {
				causes = append(causes, strings.TrimSpace(cause.Field+": "+cause.Message))
			}
			return fmt.Errorf("SeiNode %s/%s: the API server refuses it: %s", t.node.Namespace, t.node.Name, strings.Join(causes, "; "))
		}
	}
	if apierrors.IsNotFound(err) && !factory.NoSuchKind(err) {
		return fmt.Errorf("SeiNode %s/%s: %w; next: kubectl create namespace %s, when it is the namespace that is missing",
			t.node.Namespace, t.node.Name, err, t.node.Namespace)
	}
	return c.Explain(err, verb, "seinodes", t.node.Namespace, t.node.Name)
}
