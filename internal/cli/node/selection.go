package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
)

// Selection says which nodes are meant: names, files, or a list by label and chain.
type Selection struct {
	Names         []string
	Files         []string
	Selector      string
	Chain         string
	AllNamespaces bool
}

// AddFlags adds the flags of a selection; files only where a command reads them.
func (s *Selection) AddFlags(fs *pflag.FlagSet, files bool) {
	if files {
		fs.StringSliceVarP(&s.Files, "filename", "f", nil, "a file of SeiNodes, or '-' for standard input; repeatable")
	}
	fs.StringVarP(&s.Selector, "selector", "l", "", "the nodes whose labels match, such as fleet=syncer")
	fs.StringVar(&s.Chain, "chain", "", "the nodes of a chain, such as arctic-1")
	fs.BoolVarP(&s.AllNamespaces, "all-namespaces", "A", false, "with -l or --chain: in every namespace")
}

// Validate checks a selection; empty says whether none at all stands for every node of the namespace.
func (s *Selection) Validate(empty bool) error {
	listed := s.Selector != "" || s.Chain != ""
	switch {
	case len(s.Names) > 0 && len(s.Files) > 0:
		return fmt.Errorf("NAME and -f exclude each other: the file names its nodes")
	case (len(s.Names) > 0 || len(s.Files) > 0) && (listed || s.AllNamespaces):
		return fmt.Errorf("-l, --chain and -A do not go with NAME or -f: choose one way to name the nodes")
	case len(s.Names) == 0 && len(s.Files) == 0 && !listed && !empty:
		return fmt.Errorf("no node named: give NAME, -f FILE, -l SELECTOR or --chain CHAIN")
	}
	if _, err := labels.Parse(s.Selector); err != nil {
		return fmt.Errorf("-l %q is no label selector: wanted for example fleet=syncer", s.Selector)
	}
	return nil
}

// Fetch reads the selected nodes from the cluster.
func (s *Selection) Fetch(ctx context.Context, c *factory.Cluster, namespace string) ([]*v1alpha1.SeiNode, error) {
	if len(s.Names) == 0 {
		return s.list(ctx, c, namespace)
	}
	var out []*v1alpha1.SeiNode
	for _, name := range s.Names {
		n, err := Get(ctx, c, namespace, name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(o *v1alpha1.SeiNode) bool { return o.Name == n.Name }) {
			out = append(out, n)
		}
	}
	return out, nil
}

// bareName takes off the resource that -o name puts before a name.
func bareName(name string) (string, error) {
	kind, bare, ok := strings.Cut(name, "/")
	if !ok {
		return name, nil
	}
	switch kind {
	case "seinode", "seinodes", "sn", "snode", "seinode.sei.io", "seinodes.sei.io":
		return bare, nil
	}
	return "", fmt.Errorf("%s: found the resource %q, wanted the name of a SeiNode; next: seictl node status %s", name, kind, bare)
}

// Get reads one node; an error says where else a node of that name is.
func Get(ctx context.Context, c *factory.Cluster, namespace, name string) (*v1alpha1.SeiNode, error) {
	name, err := bareName(name)
	if err != nil {
		return nil, err
	}
	var n v1alpha1.SeiNode
	err = c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &n)
	if apierrors.IsNotFound(err) && !factory.NoSuchKind(err) {
		return nil, notFound(ctx, c, namespace, name)
	}
	if err != nil {
		return nil, c.Explain(err, "get", "seinodes", namespace, name)
	}
	return &n, nil
}

func notFound(ctx context.Context, c *factory.Cluster, namespace, name string) error {
	var all v1alpha1.SeiNodeList
	// Without the right to list everywhere there is no hint.
	if err := c.Client.List(ctx, &all); err == nil {
		var elsewhere, here []string
		for i := range all.Items {
			switch n := &all.Items[i]; {
			case n.Name == name:
				elsewhere = append(elsewhere, n.Namespace)
			case n.Namespace == namespace:
				here = append(here, n.Name)
			}
		}
		switch {
		case len(elsewhere) > 0:
			return fmt.Errorf("SeiNode %s not found in namespace %s; a node of that name is in %s; next: add -n %s",
				name, namespace, strings.Join(elsewhere, ", "), elsewhere[0])
		case len(here) > 0:
			return fmt.Errorf("SeiNode %s not found in namespace %s, which has %s; next: seictl node status -n %s",
				name, namespace, few(here), namespace)
		}
	}
	return fmt.Errorf("SeiNode %s not found in namespace %s; next: seictl node status -A", name, namespace)
}

// few joins names, the first of them.
func few(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (s *Selection) list(ctx context.Context, c *factory.Cluster, namespace string) ([]*v1alpha1.SeiNode, error) {
	selector, err := labels.Parse(s.Selector)
	if err != nil {
		return nil, fmt.Errorf("-l %q: %w", s.Selector, err)
	}
	if s.AllNamespaces {
		namespace = ""
	}
	var all v1alpha1.SeiNodeList
	if err := c.Client.List(ctx, &all, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, c.Explain(err, "list", "seinodes", namespace, "")
	}
	var out []*v1alpha1.SeiNode
	for i := range all.Items {
		// By the spec: nothing obliges anybody to label a SeiNode with its chain.
		if n := &all.Items[i]; s.Chain == "" || n.Spec.ChainID == s.Chain {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b *v1alpha1.SeiNode) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	if len(out) == 0 && (s.Selector != "" || s.Chain != "") {
		return nil, fmt.Errorf("no SeiNode matches %s in %s; next: seictl node status -A", s.describe(), where(namespace))
	}
	return out, nil
}

func (s *Selection) describe() string {
	var parts []string
	if s.Selector != "" {
		parts = append(parts, "-l "+s.Selector)
	}
	if s.Chain != "" {
		parts = append(parts, "--chain "+s.Chain)
	}
	return strings.Join(parts, " ")
}

func where(namespace string) string {
	if namespace == "" {
		return "any namespace"
	}
	return "namespace " + namespace
}
