// Package version holds the command that says which build this is.
package version

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/version"
)

// Options of `seictl version`.
type Options struct {
	*factory.Factory
	Output output.Format
}

// NewCmdVersion returns `seictl version`.
func NewCmdVersion(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, Output: output.NewFormat(output.JSON, output.YAML)}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Args:  factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return versionRun(cmd.Context(), o)
		},
	}
	o.Output.AddFlag(cmd.Flags())
	return cmd
}

func versionRun(_ context.Context, o *Options) error {
	info := version.Get()
	if o.Output.Machine() {
		return o.Output.Write(o.Out, info)
	}
	commit := ""
	if info.Commit != "" {
		commit = ", commit " + info.Commit
	}
	fmt.Fprintf(o.Out, "seictl %s (%s, %s%s)\n", info.Version, info.GoVersion, info.Platform, commit)
	return nil
}
