package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli/factory"
)

func TestCommandName(t *testing.T) {
	for arg0, want := range map[string]string{
		"seictl": "seictl", "/usr/bin/seictl": "seictl", "bin/seictl-v2": "seictl", "/usr/local/bin/kubectl-seictl": "kubectl seictl",
		"kubectl-seictl.exe": "kubectl seictl", "kubectl-sei": "kubectl sei",
	} {
		require.Equal(t, want, commandName(arg0), arg0)
	}
}

// as runs one command line under a name, and returns both streams.
func as(t *testing.T, command string, args ...string) (string, string, int) {
	t.Helper()
	t.Setenv("KUBECONFIG", "/does/not/exist")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	var out, errOut bytes.Buffer
	f := factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
	f.Command = command
	code := Run(t.Context(), f, args)
	return out.String(), errOut.String(), code
}

func TestPluginHelp(t *testing.T) {
	out, _, code := as(t, "kubectl seictl", "node", "plan", "--help")
	require.Zero(t, code)
	require.Contains(t, out, "kubectl seictl node plan (NAME...")
	require.Contains(t, out, "  kubectl seictl node plan ax-0 -n fleet --tls")
	require.Empty(t, strings.ReplaceAll(findBare(out), "kubectl seictl", ""))
}

// findBare are the lines that name seictl without kubectl.
func findBare(text string) string {
	var bare []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(strings.ReplaceAll(line, "kubectl seictl", ""), "seictl node") {
			bare = append(bare, line)
		}
	}
	return strings.Join(bare, "\n")
}

func TestPluginErrors(t *testing.T) {
	_, errOut, code := as(t, "kubectl seictl", "node", "plan", "seinode/x/y", "--bogus")
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "see 'kubectl seictl node plan --help'")
	_, errOut, _ = as(t, "kubectl seictl", "node", "plan", "ax-0")
	require.NotContains(t, errOut, "'seictl")
}

func TestOwnNameIsLeftAlone(t *testing.T) {
	out, _, _ := as(t, factory.CommandName, "node", "plan", "--help")
	require.NotContains(t, out, "kubectl seictl")
}

// Every command has what a reader of its help looks for.
func TestEveryCommandIsDocumented(t *testing.T) {
	root := NewCmdRoot(factory.New(genericiooptions.NewTestIOStreamsDiscard()))
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		require.NotEmpty(t, c.Short, c.CommandPath())
		if !c.HasSubCommands() && c.Name() != "version" {
			require.NotEmpty(t, c.Long+c.Example, c.CommandPath())
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(root)
}
