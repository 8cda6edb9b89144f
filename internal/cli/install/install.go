// Package install holds the commands that put seictl's own objects into a cluster.
package install

import (
	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/factory"
)

// FieldOwner is the field manager of what is installed.
const FieldOwner = "seictl-install"

// NewCmdInstall returns `seictl install`.
func NewCmdInstall(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Print or apply what seictl needs in a cluster",
		Args:  factory.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(NewCmdBase(f, nil), NewCmdOperator(f, nil), NewCmdMonitoring(f, nil))
	return cmd
}
