// Package node holds the commands about nodes.
package node

import (
	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/factory"
)

// NewCmdNode returns `seictl node`.
func NewCmdNode(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Aliases: []string{"nodes", "sn"},
		Short:   "Preview, change and look at single nodes",
		Args:    factory.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(NewCmdPlan(f, nil), NewCmdApply(f, nil), NewCmdStatus(f, nil), NewCmdExplain(f, nil), NewCmdVerify(f, nil), NewCmdRetry(f, nil))
	return cmd
}
