// Package fleet holds the commands that change a whole fleet: previewed, in waves, behind gates, with a record.
package fleet

import (
	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/factory"
)

// NewCmdFleet returns `seictl fleet`.
func NewCmdFleet(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Change the nodes of a chain in waves, and go back",
		Long: "Turn TLS on or off for the nodes of a chain: a canary first, then wave by wave, each behind a health gate. A rollout\n" +
			"is recorded in the cluster: it can be watched, paused, resumed and taken back from anywhere.",
		Args: factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		NewCmdPlan(f, nil), NewCmdEnableTLS(f, nil), NewCmdDisableTLS(f, nil), NewCmdStatus(f, nil), NewCmdHistory(f, nil),
		NewCmdPause(f, nil), NewCmdResume(f, nil), NewCmdAbort(f, nil), NewCmdUndo(f, nil),
	)
	return cmd
}
