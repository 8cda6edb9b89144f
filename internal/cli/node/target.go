package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/manifest"
	"sei.io/seictl/internal/cli/savedplan"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/settings"
)

// target is one node of a command.
type target struct {
	// node with the edit.
	node *v1alpha1.SeiNode
	// live is the node in the cluster; nil when it is not there or no cluster was asked.
	live *v1alpha1.SeiNode
	// object is what the file says; nil for a node that was named.
	object   *manifest.Object
	warnings []string
	// asked says that the cluster answered whether the node is there.
	asked bool
}

// resolver finds the targets of a command. It asks the cluster as little as it can.
type resolver struct {
	f         *factory.Factory
	selection Selection
	edit      Edit
	// offline allows files to be planned without a cluster.
	offline bool
	// planFile is a saved plan to take nodes and edits from, and saved what is in it.
	planFile string
	saved    *savedplan.File

	namespace string
	explicit  bool
	// gone is why no cluster answers, once that is known.
	gone     error
	settings *settings.Settings
	warning  string
	// command that runs, for hints, and how objects are compared.
	command string
	diff    diffMode
	// facts of the cluster, asked for once.
	facts *preflight.Collector
}

// resolve finds every target and applies the edit.
func (r *resolver) resolve(ctx context.Context) ([]target, error) {
	if r.planFile != "" {
		return r.resolveSaved(ctx)
	}
	var err error
	if r.namespace, r.explicit, err = r.f.Namespace(); err != nil {
		if !r.offline {
			return nil, err
		}
		// A file needs no cluster, so no kubeconfig either.
		r.gone, r.namespace = &factory.NoClusterError{Reason: err.Error()}, "default"
	}
	var targets []target
	if len(r.selection.Files) > 0 {
		targets, err = r.fromFiles(ctx)
	} else {
		targets, err = r.fromCluster(ctx)
	}
	if err != nil {
		return nil, err
	}
	defaults, err := r.issuerDefaults(ctx)
	if err != nil {
		return nil, err
	}
	for i := range targets {
		if err := targets[i].edit(&r.edit, defaults); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// edit applies the flags to the node and, where it comes from a file, to what the file declares.
func (t *target) edit(e *Edit, defaults issuerDefaults) error {
	edited, err := e.Apply(t.node, defaults)
	if err != nil {
		return err
	}
	if t.object != nil && t.object.Node != nil && !e.Empty() {
		file, err := declared(t.node, t.object)
		if err != nil {
			return err
		}
		e.editFile(file, edited)
		if t.object.Raw, err = json.Marshal(file); err != nil {
			return fmt.Errorf("encoding SeiNode %s: %w", edited.Name, err)
		}
		if t.live != nil {
			// An apply drops what an earlier one of ours set: the issuer, when a Secret takes its place.
			if edited, err = mergeApply(t.live, edited, t.object); err != nil {
				return err
			}
		}
	}
	t.node = edited
	return nil
}

func (r *resolver) fromCluster(ctx context.Context) ([]target, error) {
	c, err := r.f.Cluster()
	if err != nil {
		return nil, err
	}
	nodes, err := r.selection.Fetch(ctx, c, r.namespace)
	if err != nil {
		return nil, err
	}
	var out []target
	for _, n := range nodes {
		out = append(out, target{node: n, live: n})
	}
	return out, nil
}

func (r *resolver) fromFiles(ctx context.Context) ([]target, error) {
	objects, err := manifest.ReadFiles(r.selection.Files, r.f.In)
	if err != nil {
		return nil, err
	}
	var out []target
	for i := range objects {
		o := &objects[i]
		nodes := []*v1alpha1.SeiNode{o.Node}
		var warnings []string
		if o.Deployment != nil {
			nodes = children(o.Deployment)
			warnings = append(warnings, fmt.Sprintf("child of SeiNodeDeployment %s: its template is what to edit", o.Deployment.Name))
		}
		for _, n := range nodes {
			t := target{node: n, object: o, warnings: append([]string{}, warnings...)}
			if err := r.place(n, o.Source); err != nil {
				return nil, err
			}
			if err := r.observe(ctx, &t); err != nil {
				return nil, err
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// place fills in the namespace, as kubectl does.
func (r *resolver) place(n *v1alpha1.SeiNode, source string) error {
	if n.Namespace == "" {
		n.Namespace = r.namespace
	}
	if r.explicit && n.Namespace != r.namespace {
		return fmt.Errorf("%s: SeiNode %s: metadata.namespace: found %q, wanted %q as --namespace says: change one of them",
			source, n.Name, n.Namespace, r.namespace)
	}
	return nil
}

// children are the nodes that a SeiNodeDeployment stamps out.
func children(d *v1alpha1.SeiNodeDeployment) []*v1alpha1.SeiNode {
	var out []*v1alpha1.SeiNode
	for i := range d.Spec.Replicas {
		n := &v1alpha1.SeiNode{Spec: *d.Spec.Template.Spec.DeepCopy()}
		n.Namespace, n.Name = d.Namespace, fmt.Sprintf("%s-%d", d.Name, i)
		n.Labels, n.Annotations = d.Spec.Template.Metadata.Labels, d.Spec.Template.Metadata.Annotations
		out = append(out, n)
	}
	return out
}

// observe finds the observed state of a node of a file: that in the file, else the live object's, else none.
func (r *resolver) observe(ctx context.Context, t *target) error {
	inFile := t.object.HasStatus && t.object.Node != nil
	if inFile && r.offline {
		return nil
	}
	live, err := r.liveOf(ctx, t.node)
	switch {
	case err != nil && r.offline && factory.Unreachable(err):
		t.warnings = append(t.warnings, fmt.Sprintf("no status in the file and no cluster answers: planned as a NodeInit (%s)", short(err)))
	case err != nil:
		return err
	case live == nil && r.offline:
		t.warnings = append(t.warnings, "no status in the file and no such node in the cluster: planned as a NodeInit")
	}
	t.node.Status = v1alpha1.SeiNodeStatus{}
	t.asked = err == nil
	if live == nil {
		return nil
	}
	t.live = live
	merged, err := mergeApply(live, t.node, t.object)
	if err != nil {
		return err
	}
	if problems := manifest.ValidateChange(&live.Spec, &merged.Spec); len(problems) > 0 {
		return fmt.Errorf("%s: SeiNode %s: %s", t.object.Source, merged.Name, problems[0])
	}
	t.node = merged
	return nil
}

// short is the reason of a cluster that is not there, without its advice.
func short(err error) string {
	var none *factory.NoClusterError
	if errors.As(err, &none) {
		return none.Reason
	}
	return err.Error()
}

// liveOf reads a node that may not exist; nil when it does not.
func (r *resolver) liveOf(ctx context.Context, n *v1alpha1.SeiNode) (*v1alpha1.SeiNode, error) {
	if r.gone != nil {
		return nil, r.gone
	}
	c, err := r.f.Cluster()
	if err != nil {
		r.gone = err
		return nil, err
	}
	if r.offline {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, factory.AnswerWithin)
		defer cancel()
	}
	var live v1alpha1.SeiNode
	err = c.Client.Get(ctx, client.ObjectKeyFromObject(n), &live)
	switch {
	case err == nil:
		return &live, nil
	case apierrors.IsNotFound(err) && !factory.NoSuchKind(err):
		return nil, nil
	}
	err = c.Explain(err, "get", "seinodes", n.Namespace, n.Name)
	if factory.Unreachable(err) {
		r.gone = err
	}
	return nil, err
}

// Settings are the cluster's when it was asked or answers, else the defaults.
func (r *resolver) Settings(ctx context.Context, ask bool) (settings.Settings, error) {
	if r.settings != nil {
		return *r.settings, nil
	}
	s := settings.Default()
	if ask && r.gone == nil {
		c, err := r.f.Cluster()
		if err == nil {
			s, r.warning, err = r.read(ctx, c)
		}
		switch {
		case err == nil:
		case r.offline && factory.Unreachable(err):
			r.gone = err
		default:
			return s, err
		}
	}
	if r.gone != nil || ask {
		r.settings = &s
	}
	return s, nil
}

func (r *resolver) read(ctx context.Context, c *factory.Cluster) (settings.Settings, string, error) {
	if r.offline {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, factory.AnswerWithin)
		defer cancel()
	}
	s, warning, err := c.Settings(ctx)
	if err != nil && r.offline {
		return settings.Default(), "", err
	}
	return s, warning, err
}

// issuerDefaults looks in the cluster's settings first, then in the preferences.
func (r *resolver) issuerDefaults(ctx context.Context) (issuerDefaults, error) {
	if !r.edit.needsDefault() {
		return nil, nil
	}
	s, err := r.Settings(ctx, true)
	if err != nil {
		return nil, err
	}
	return func(chain string) settings.ChainDefaults {
		if d := s.Chains[chain]; d.IssuerName != "" {
			return d
		}
		return r.f.Preferences.Chains[chain]
	}, nil
}
