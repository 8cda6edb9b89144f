package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/preflight"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

// observed is what can be seen of a cluster.
type observed struct {
	nodes       []*v1alpha1.SeiNode
	deployments []*v1alpha1.SeiNodeDeployment
	podReady    map[types.NamespacedName]bool
	warnings    []string
	// only is the one namespace that was seen, for want of the right to see all; empty when all were.
	only string
}

// gather lists nodes, SeiNodeDeployments and pods: one request each, however many nodes there are. Whoever may not list
// everywhere sees one namespace.
func gather(ctx context.Context, f *factory.Factory, c *factory.Cluster, chain string) (*observed, error) {
	o, err := list(ctx, c, "", chain)
	if apierrors.IsForbidden(err) {
		namespace, _, nsErr := f.Namespace()
		if nsErr != nil {
			return nil, nsErr
		}
		o, err = list(ctx, c, namespace, chain)
		if err == nil {
			o.only = namespace
			o.warnings = append(o.warnings, fmt.Sprintf("not allowed to list SeiNodes in all namespaces: only those of namespace %s are seen", namespace))
		}
	}
	if err != nil {
		return nil, c.Explain(err, "list", "seinodes", "", "")
	}
	return o, nil
}

// gatherFor reads what a rollout is about: whoever may not list everywhere has to see each of its namespaces. A node that one
// may not see is not gone.
func gatherFor(ctx context.Context, f *factory.Factory, c *factory.Cluster, r *fleet.Record) (*observed, error) {
	o, err := gather(ctx, f, c, r.Chain)
	if err != nil || o.only == "" {
		return o, err
	}
	for namespace := range r.Namespaces() {
		if namespace == o.only {
			continue
		}
		more, err := list(ctx, c, namespace, r.Chain)
		if err != nil {
			return nil, fmt.Errorf("%w; rollout %s has nodes in namespace %s", c.Explain(err, "list", "seinodes", namespace, ""), r.Name, namespace)
		}
		o.add(more)
	}
	o.warnings = nil
	return o, nil
}

func (o *observed) add(more *observed) {
	o.nodes, o.deployments = append(o.nodes, more.nodes...), append(o.deployments, more.deployments...)
	switch {
	case more.podReady == nil:
		o.podReady = nil
	case o.podReady != nil:
		maps.Copy(o.podReady, more.podReady)
	}
}

func list(ctx context.Context, c *factory.Cluster, namespace, chain string) (*observed, error) {
	var (
		nodes v1alpha1.SeiNodeList
		snds  v1alpha1.SeiNodeDeploymentList
		pods  corev1.PodList
	)
	selector := kube.ListOption(kube.HasLabels{v1alpha1.LabelNode})
	if chain != "" {
		selector = kube.MatchingLabels{v1alpha1.LabelChain: chain}
	}
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i, read := range []func() error{
		func() error { return c.Client.List(ctx, &nodes, kube.InNamespace(namespace)) },
		func() error { return c.Client.List(ctx, &snds, kube.InNamespace(namespace)) },
		func() error { return c.Client.List(ctx, &pods, kube.InNamespace(namespace), selector) },
	} {
		wg.Go(func() { errs[i] = read() })
	}
	wg.Wait()
	for _, err := range errs[:2] {
		if err != nil {
			return nil, err
		}
	}
	o := &observed{}
	for i := range nodes.Items {
		o.nodes = append(o.nodes, &nodes.Items[i])
	}
	for i := range snds.Items {
		o.deployments = append(o.deployments, &snds.Items[i])
	}
	if errs[2] != nil {
		o.warnings = append(o.warnings, "pods cannot be listed: whether they are Ready is taken from the status of the nodes")
		return o, nil //nolint:nilerr // told as a warning: the status of the nodes serves
	}
	o.podReady = podReadiness(&pods)
	return o, nil
}

// podReadiness says of each node with a pod whether it is Ready.
func podReadiness(pods *corev1.PodList) map[types.NamespacedName]bool {
	out := map[types.NamespacedName]bool{}
	for i := range pods.Items {
		p := &pods.Items[i]
		s := drift.Snapshot{Pod: p}
		out[types.NamespacedName{Namespace: p.Namespace, Name: p.Labels[v1alpha1.LabelNode]}] = s.PodReady()
	}
	return out
}

// proposal is a rollout as it would be.
type proposal struct {
	plan      *fleet.Plan
	record    *fleet.Record
	settings  settings.Settings
	observed  *observed
	preflight []preflight.Line
	// asked is the strategy that was asked for: a record has what came of it.
	asked fleet.Strategy
}

// propose reads the cluster and plans.
func propose(ctx context.Context, f *factory.Factory, c *factory.Cluster, sel *SelectionFlags, target *TargetFlags, strategy *StrategyFlags) (*proposal, error) {
	platform, warning, err := c.Settings(ctx)
	if err != nil {
		return nil, err
	}
	selection, err := sel.Selection(f, platform)
	if err != nil {
		return nil, err
	}
	seen, err := gather(ctx, f, c, selection.Chain)
	if err != nil {
		return nil, err
	}
	_, chain, err := selection.Select(seen.nodes)
	if err != nil {
		return nil, err
	}
	if modes := platform.Chains[chain].Modes; len(selection.Modes) == 0 && len(modes) > 0 {
		// Which chain it is was not known before.
		selection.Modes = slices.Clone(modes)
	}
	goal, err := target.Goal(f, chain, platform)
	if err != nil {
		return nil, err
	}
	how, err := strategy.Strategy(chain, platform)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		seen.warnings = append(seen.warnings, warning)
	}
	return build(f, fleet.Input{Selection: selection, Goal: goal, Strategy: how, Settings: platform}, seen)
}

// build plans over what was seen.
func build(f *factory.Factory, in fleet.Input, seen *observed) (*proposal, error) {
	in.Nodes, in.Deployments, in.PodReady, in.Now = seen.nodes, seen.deployments, seen.podReady, f.Now()
	p, r, err := fleet.Build(in)
	if err != nil {
		return nil, err
	}
	p.Warnings = append(p.Warnings, seen.warnings...)
	return &proposal{plan: p, record: r, settings: in.Settings, observed: seen, asked: in.Strategy}, nil
}
