package complete

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig completes from the kubeconfig: no cluster is asked.
func (c *completer) kubeconfig(names func(*api.Config) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		raw, err := c.f.Flags.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return starting(names(&raw), toComplete), cobra.ShellCompDirectiveNoFileComp
	}
}

func contexts(c *api.Config) []string { return slices.Collect(maps.Keys(c.Contexts)) }
func clusters(c *api.Config) []string { return slices.Collect(maps.Keys(c.Clusters)) }
func users(c *api.Config) []string    { return slices.Collect(maps.Keys(c.AuthInfos)) }
