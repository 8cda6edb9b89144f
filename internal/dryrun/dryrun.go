// Package dryrun says what a plan would write. It runs the very tasks of the plan over a client that stores nothing, so
// that the preview and what happens come from the same code: the same render, the same field manager, the same refusals.
package dryrun

import (
	"context"
	"errors"
	"fmt"
	"strings"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/pmezard/go-difflib/difflib"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/tasks"
)

// Actions on objects.
const (
	Create    = "create"
	Update    = "update"
	Delete    = "delete"
	Replace   = "replace"
	Unchanged = "unchanged"
	// Refused says that the task would fail; the diff says why.
	Refused = "refused"
)

// Object is what a plan would do to one object: the JSON contract of `seictl node plan -o json`.
type Object struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action string `json:"action"`
	// Diff has one change a line or, in full, is a unified diff of YAML.
	Diff string `json:"diff"`

	// ClientSide says that the diff was computed without the API server.
	ClientSide bool `json:"-"`
	// Full says that the diff is a unified one.
	Full bool `json:"-"`
	// Err is why a task would fail; nil unless the action is Refused.
	Err error `json:"-"`
}

// Input of a dry run.
type Input struct {
	Node     *v1alpha1.SeiNode
	Plan     *v1alpha1.Plan
	Snapshot *drift.Snapshot
	Settings settings.Settings
	Client   client.Client
	// Full asks for unified diffs.
	Full bool
}

// unborn is the UID of a node that does not exist yet: its objects need an owner all the same.
const unborn = "00000000-0000-0000-0000-000000000000"

// Objects says what the tasks of the plan that are still to run would write, in their order.
func Objects(ctx context.Context, in Input) ([]Object, error) {
	out := []Object{}
	if in.Plan == nil {
		return out, nil
	}
	if in.Node.UID == "" {
		in.Node = in.Node.DeepCopy()
		in.Node.UID = unborn
	}
	r := &run{Input: in}
	for i := range in.Plan.Tasks {
		t := &in.Plan.Tasks[i]
		switch t.Status {
		case v1alpha1.TaskComplete, v1alpha1.TaskFailed, v1alpha1.TaskSkipped:
			continue
		}
		objects, err := r.task(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("previewing task %s: %w", t.Type, err)
		}
		out = append(out, objects...)
	}
	return out, nil
}

// run is one dry run of a plan.
type run struct {
	Input
	// template are the changes of the StatefulSet, once they are known.
	template []change
}

func (r *run) task(ctx context.Context, t *v1alpha1.Task) ([]Object, error) {
	switch t.Type {
	case v1alpha1.TaskApplySidecarCert:
		return r.written(ctx, t, cmv1.CertificateKind, t.Params.SidecarCert.Name), nil
	case v1alpha1.TaskApplyRBACProxyConfig:
		return r.written(ctx, t, "ConfigMap", t.Params.RBACProxyConfig.Name), nil
	case v1alpha1.TaskApplyStatefulSet:
		return r.written(ctx, t, "StatefulSet", r.Node.Name), nil
	case v1alpha1.TaskApplyService:
		return r.written(ctx, t, "Service", r.Node.Name), nil
	case v1alpha1.TaskEnsureDataPVC:
		return r.written(ctx, t, "PersistentVolumeClaim", t.Params.EnsureDataPVC.ClaimName), nil
	case v1alpha1.TaskReplacePod:
		return r.pod(), nil
	case v1alpha1.TaskDeleteRBACProxyConfig:
		return r.deleted(ctx, &corev1.ConfigMap{}, "ConfigMap", t.Params.RBACProxyConfig.Name, r.controlled)
	case v1alpha1.TaskDeleteSidecarCert:
		return r.deletedCertificate(ctx, t.Params.SidecarCert.Name)
	}
	return nil, nil
}

// written runs a task that writes. That it would fail is a finding, and hides nothing else.
func (r *run) written(ctx context.Context, t *v1alpha1.Task, kind, name string) []Object {
	rec := &recorder{Client: r.Client}
	result, err := tasks.Run(ctx, &tasks.Env{Client: rec, Live: r.Client, Settings: r.Settings, DryRun: true},
		tasks.Input{Node: r.Node, Plan: r.Plan, Task: t})
	if err == nil && result.Phase == tasks.Waiting && len(rec.writes) == 0 {
		err = errors.New(result.Message)
	}
	if err != nil {
		return []Object{{Kind: kind, Name: name, Action: Refused, Diff: "! " + err.Error(), Err: err}}
	}
	var out []Object
	for i := range rec.writes {
		out = append(out, r.object(&rec.writes[i]))
	}
	if len(out) == 0 {
		out = append(out, Object{Kind: kind, Name: name, Action: Unchanged})
	}
	return out
}

func (r *run) object(w *write) Object {
	o := Object{Kind: w.rendered.GetKind(), Name: w.rendered.GetName(), Action: Update, ClientSide: w.clientSide}
	before, after := map[string]any{}, meaningful(w.after.Object)
	if w.before == nil {
		o.Action = Create
		// What the API server adds to a new object is nobody's decision, and its name is told already.
		after = meaningful(w.rendered.Object)
		for _, k := range []string{"apiVersion", "kind", "metadata"} {
			delete(after, k)
		}
	} else {
		before = meaningful(w.before.Object)
	}
	cs := changes(before, after)
	if len(cs) == 0 {
		o.Action = Unchanged
	}
	if o.Kind == "StatefulSet" {
		r.template = cs
	}
	if r.Full {
		o.Full, o.Diff = true, unified(w.before, w.after)
		return o
	}
	lines := make([]string, len(cs))
	for i, c := range cs {
		lines[i] = c.line()
	}
	o.Diff = strings.Join(lines, "\n")
	return o
}

// unified is a unified diff of two objects as YAML.
func unified(before, after *unstructured.Unstructured) string {
	asYAML := func(u *unstructured.Unstructured) []string {
		if u == nil {
			return nil
		}
		data, err := yaml.Marshal(meaningful(u.Object))
		if err != nil {
			return []string{err.Error()}
		}
		return difflib.SplitLines(strings.TrimSuffix(string(data), "\n"))
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: asYAML(before), B: asYAML(after), FromFile: "live", ToFile: "planned", Context: 3,
	})
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(text, "\n")
}

// pod says what becomes of the pod that runs; nothing when there is none or it is of the right revision already.
func (r *run) pod() []Object {
	s := r.Snapshot
	if s == nil || s.Pod == nil {
		return nil
	}
	if t := r.Plan.Task(v1alpha1.TaskApplyStatefulSet); t != nil && t.Params.StatefulSet.FromRevision != "" &&
		t.Params.StatefulSet.FromRevision == s.PodRevision() {
		// The template returns to what the pod is of.
		return nil
	}
	o := Object{Kind: "Pod", Name: s.Pod.Name, Action: Replace}
	switch revision, current := s.UpdateRevision(); {
	case len(parts(r.template)) > 0:
		o.Diff = fmt.Sprintf("pod %s will be replaced: the template changes in %s", s.Pod.Name, strings.Join(parts(r.template), ", "))
	case s.Pod.DeletionTimestamp != nil:
		o.Diff = fmt.Sprintf("pod %s is Terminating: its successor comes up on the template", s.Pod.Name)
	case current && s.PodRevision() != revision:
		o.Diff = fmt.Sprintf("pod %s will be replaced: it runs revision %s, the template is %s", s.Pod.Name, s.PodRevision(), revision)
	default:
		return nil
	}
	if last := r.Node.Status.LastPlan; last != nil && last.PodCycle != nil {
		o.Diff += fmt.Sprintf("; the last cycle took %.0f s", last.PodCycle.Seconds())
	}
	return []Object{o}
}

// controlled says whether an object is the node's.
func (r *run) controlled(o client.Object) bool { return metav1.IsControlledBy(o, r.Node) }

func (r *run) deletedCertificate(ctx context.Context, name string) ([]Object, error) {
	out, err := r.deleted(ctx, &cmv1.Certificate{}, cmv1.CertificateKind, name, r.controlled)
	if err != nil {
		return nil, err
	}
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	issued, err := r.deleted(ctx, secret, "Secret", name, func(o client.Object) bool {
		return o.GetAnnotations()[cmv1.CertificateNameKey] == name
	})
	return append(out, issued...), err
}

// deleted is the deletion of an object, if it is there and is to go. Whoever may not look gets it announced all the same.
func (r *run) deleted(ctx context.Context, o client.Object, kind, name string, goes func(client.Object) bool) ([]Object, error) {
	gone := []Object{{Kind: kind, Name: name, Action: Delete}}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Node.Namespace, Name: name}, o)
	switch {
	case apierrors.IsForbidden(err):
		gone[0].ClientSide = true
		return gone, nil
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading %s %s: %w", kind, name, err)
	case !goes(o):
		return nil, nil
	}
	return gone, nil
}
