// Package complete completes names in the shell: of nodes, chains, issuers, Secrets, namespaces and contexts. It is silent:
// without a cluster, without rights or without an answer in time there is nothing to complete.
package complete

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/ui"
)

// answerWithin is how long somebody who pressed a key waits.
const answerWithin = 2 * time.Second

// completer completes from one cluster.
type completer struct{ f *factory.Factory }

// list asks the cluster for candidates, each with a description after a tab.
type list func(ctx context.Context, c *factory.Cluster, cmd *cobra.Command, given []string) []string

// Install completes the flags and arguments of a command and of all below it.
func Install(cmd *cobra.Command, f *factory.Factory) {
	c := &completer{f: f}
	c.flags(cmd, cmd.PersistentFlags())
	c.tree(cmd)
}

func (c *completer) tree(cmd *cobra.Command) {
	c.flags(cmd, cmd.LocalNonPersistentFlags())
	if cmd.ValidArgsFunction == nil && strings.Contains(cmd.Use, "NAME") {
		directive := cobra.ShellCompDirectiveNoFileComp
		if strings.Contains(cmd.Use, "SAVED-PLAN") {
			directive = cobra.ShellCompDirectiveDefault
		}
		cmd.ValidArgsFunction = c.from(c.nodes, directive)
	}
	for _, sub := range cmd.Commands() {
		c.tree(sub)
	}
}

func (c *completer) flags(cmd *cobra.Command, flags *pflag.FlagSet) {
	const none = cobra.ShellCompDirectiveNoFileComp
	known := map[string]cobra.CompletionFunc{
		"chain": c.from(c.chains, none), "issuer": c.from(c.issuers, none), "secret": c.from(c.secrets, none),
		"namespace": c.from(c.namespaces, none), "node-namespace": c.from(c.namespaces, none),
		"context": c.kubeconfig(contexts), "cluster": c.kubeconfig(clusters), "user": c.kubeconfig(users),
		"issuer-kind": fixed(v1alpha1.IssuerKindClusterIssuer, v1alpha1.IssuerKindIssuer),
		"color":       fixed(ui.ColorAuto, ui.ColorAlways, ui.ColorNever),
		"mode":        fixed(v1alpha1.ModeFullNode, v1alpha1.ModeArchive, v1alpha1.ModeReplayer, v1alpha1.ModeValidator),
	}
	flags.VisitAll(func(flag *pflag.Flag) {
		complete := known[flag.Name]
		if choice, ok := flag.Value.(interface{ Allowed() []string }); ok {
			complete = fixed(choice.Allowed()...)
		}
		if _, taken := cmd.GetFlagCompletionFunc(flag.Name); complete == nil || taken {
			return
		}
		// The flag exists and has no completion yet: nothing can go wrong.
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, complete)
	})
}

func fixed(values ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}

// from completes with what a cluster answers in time.
func (c *completer) from(list list, directive cobra.ShellCompDirective) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, answerWithin)
		defer cancel()
		// Discovery knows no context: what does not answer is left behind.
		answer := make(chan []string, 1)
		go func() { answer <- c.ask(ctx, list, cmd, args) }()
		select {
		case <-ctx.Done():
			return nil, directive
		case found := <-answer:
			return starting(found, toComplete), directive
		}
	}
}

func (c *completer) ask(ctx context.Context, list list, cmd *cobra.Command, args []string) []string {
	cluster, err := c.f.Cluster()
	if err != nil {
		return nil
	}
	return list(ctx, cluster, cmd, args)
}

// starting are the candidates that begin as what was typed, each once.
func starting(found []string, typed string) []string {
	var out []string
	for _, s := range found {
		if strings.HasPrefix(s, typed) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// namespace is that of the flags or of the context; empty with --all-namespaces.
func (c *completer) namespace(cmd *cobra.Command) string {
	if all := cmd.Flags().Lookup("all-namespaces"); all != nil && all.Value.String() == "true" {
		return ""
	}
	namespace, _, err := c.f.Namespace()
	if err != nil {
		return metav1.NamespaceDefault
	}
	return namespace
}

func (c *completer) nodes(ctx context.Context, cluster *factory.Cluster, cmd *cobra.Command, given []string) []string {
	var l v1alpha1.SeiNodeList
	if cluster.Client.List(ctx, &l, client.InNamespace(c.namespace(cmd))) != nil {
		return nil
	}
	var out []string
	for i := range l.Items {
		n := &l.Items[i]
		if !slices.Contains(given, n.Name) {
			out = append(out, fmt.Sprintf("%s\t%s %s %s", n.Name, n.Spec.ChainID, n.Mode(), n.Status.Phase))
		}
	}
	return out
}

func (c *completer) chains(ctx context.Context, cluster *factory.Cluster, _ *cobra.Command, _ []string) []string {
	var l v1alpha1.SeiNodeList
	if cluster.Client.List(ctx, &l) != nil {
		// Whoever may not look everywhere looks here.
		namespace, _, err := c.f.Namespace()
		if err != nil || cluster.Client.List(ctx, &l, client.InNamespace(namespace)) != nil {
			return nil
		}
	}
	var out []string
	for i := range l.Items {
		out = append(out, l.Items[i].Spec.ChainID)
	}
	return out
}

// issuers are those of the kind that --issuer-kind says.
func (c *completer) issuers(ctx context.Context, cluster *factory.Cluster, cmd *cobra.Command, _ []string) []string {
	var out []string
	add := func(i cmv1.GenericIssuer) {
		ready := "not Ready"
		for _, cond := range i.GetStatus().Conditions {
			if cond.Type == cmv1.IssuerConditionReady && cond.Status == cmmeta.ConditionTrue {
				ready = "Ready"
			}
		}
		out = append(out, i.GetName()+"\t"+ready)
	}
	if kind := cmd.Flags().Lookup("issuer-kind"); kind != nil && kind.Value.String() == v1alpha1.IssuerKindIssuer {
		var l cmv1.IssuerList
		if cluster.Client.List(ctx, &l, client.InNamespace(c.namespace(cmd))) == nil {
			for i := range l.Items {
				add(&l.Items[i])
			}
		}
		return out
	}
	var l cmv1.ClusterIssuerList
	if cluster.Client.List(ctx, &l) == nil {
		for i := range l.Items {
			add(&l.Items[i])
		}
	}
	return out
}

// secrets are those of type kubernetes.io/tls. Their metadata alone is asked for.
func (c *completer) secrets(ctx context.Context, cluster *factory.Cluster, cmd *cobra.Command, _ []string) []string {
	l := &metav1.PartialObjectMetadataList{}
	l.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if cluster.Client.List(ctx, l, client.InNamespace(c.namespace(cmd)), client.MatchingFields{"type": string(corev1.SecretTypeTLS)}) != nil {
		return nil
	}
	var out []string
	for i := range l.Items {
		out = append(out, l.Items[i].Name)
	}
	return out
}

func (c *completer) namespaces(ctx context.Context, cluster *factory.Cluster, _ *cobra.Command, _ []string) []string {
	l := &metav1.PartialObjectMetadataList{}
	l.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if cluster.Client.List(ctx, l) != nil {
		return nil
	}
	var out []string
	for i := range l.Items {
		out = append(out, l.Items[i].Name)
	}
	return out
}
