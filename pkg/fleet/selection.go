package fleet

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"sei.io/seictl/api/v1alpha1"
)

// Selection says which nodes are meant. Chain or Selector is given; the rest narrows them down.
type Selection struct {
	Chain     string   `json:"chain"`
	Modes     []string `json:"modes,omitempty"`
	Selector  string   `json:"selector,omitempty"`
	Namespace string   `json:"namespace,omitempty"`
}

// Modes that a selection can name.
var modes = []string{v1alpha1.ModeArchive, v1alpha1.ModeFullNode, v1alpha1.ModeReplayer, v1alpha1.ModeValidator}

// Validate checks a selection.
func (s *Selection) Validate() error {
	if s.Chain == "" && s.Selector == "" {
		return fmt.Errorf("no target: give --chain CHAIN, or -l SELECTOR for nodes of one chain; next: seictl node status -A")
	}
	if _, err := labels.Parse(s.Selector); err != nil {
		return fmt.Errorf("-l %q is no label selector: wanted for example fleet=syncer", s.Selector)
	}
	for _, m := range s.Modes {
		if !slices.Contains(modes, m) {
			return fmt.Errorf("--mode: found %q, wanted some of %s", m, strings.Join(modes, ","))
		}
	}
	return nil
}

// Matches says whether a node is meant.
func (s *Selection) Matches(n *v1alpha1.SeiNode, selector labels.Selector) bool {
	return (s.Chain == "" || n.Spec.ChainID == s.Chain) &&
		(s.Namespace == "" || n.Namespace == s.Namespace) &&
		(len(s.Modes) == 0 || slices.Contains(s.Modes, n.Mode())) &&
		(selector == nil || selector.Matches(labels.Set(n.Labels)))
}

// Select returns the nodes that are meant, by namespace and name, and their chain. A rollout is of one chain: chains have
// budgets of their own.
func (s *Selection) Select(all []*v1alpha1.SeiNode) (nodes []*v1alpha1.SeiNode, chain string, err error) {
	if err := s.Validate(); err != nil {
		return nil, "", err
	}
	selector, err := labels.Parse(s.Selector)
	if err != nil {
		return nil, "", fmt.Errorf("-l %q: %w", s.Selector, err)
	}
	chains := map[string]bool{}
	for _, n := range all {
		if s.Matches(n, selector) {
			nodes = append(nodes, n)
			chains[n.Spec.ChainID] = true
		}
	}
	slices.SortFunc(nodes, func(a, b *v1alpha1.SeiNode) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	switch {
	case len(nodes) == 0:
		return nil, "", fmt.Errorf("no SeiNode matches %s; next: seictl node status -A", s)
	case len(chains) > 1:
		return nil, "", fmt.Errorf("%s matches nodes of %d chains, and a rollout is of one: add --chain, one of %s",
			s, len(chains), strings.Join(sorted(chains), ", "))
	}
	return nodes, nodes[0].Spec.ChainID, nil
}

func (s *Selection) String() string {
	var parts []string
	for _, p := range []struct{ flag, value string }{
		{"--chain", s.Chain}, {"--mode", strings.Join(s.Modes, ",")}, {"-l", s.Selector}, {"-n", s.Namespace},
	} {
		if p.value != "" {
			parts = append(parts, p.flag+" "+p.value)
		}
	}
	return strings.Join(parts, " ")
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
