package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sei.io/seictl/internal/cli/factory"
)

// kubectlPrefix is how the file of a plugin of kubectl begins: `kubectl seictl` runs kubectl-seictl.
const kubectlPrefix = "kubectl-"

// commandName is how the user called this process.
func commandName(arg0 string) string {
	name := strings.TrimSuffix(filepath.Base(arg0), ".exe")
	if plugin, ok := strings.CutPrefix(name, kubectlPrefix); ok {
		return "kubectl " + strings.ReplaceAll(plugin, "-", " ")
	}
	return factory.CommandName
}

// callAs has the help of a command, and of all below it, use the name that it was called by.
func callAs(cmd *cobra.Command, f *factory.Factory) {
	if f.Command == factory.CommandName {
		return
	}
	if !cmd.HasParent() {
		cmd.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: f.Command}
	}
	cmd.Long, cmd.Example = f.Rename(cmd.Long), f.Rename(cmd.Example)
	cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) { flag.Usage = f.Rename(flag.Usage) })
	for _, sub := range cmd.Commands() {
		callAs(sub, f)
	}
}
