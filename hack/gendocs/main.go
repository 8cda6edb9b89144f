// Command gendocs writes the reference of the commands: one page of Markdown each, from the commands themselves.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli"
	"sei.io/seictl/internal/cli/factory"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs DIRECTORY")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

// generate writes every page. What the machine is like must not show in them.
func generate(dir string) error {
	for _, v := range []string{"KUBERNETES_SERVICE_HOST", "KUBECONFIG"} {
		if err := os.Unsetenv(v); err != nil {
			return fmt.Errorf("clearing the environment: %w", err)
		}
	}
	root := cli.NewCmdRoot(factory.New(genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard}))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("x")
	if cache := root.PersistentFlags().Lookup("cache-dir"); cache != nil {
		cache.DefValue = "$HOME/.kube/cache"
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	return pages(root, dir)
}

func pages(cmd *cobra.Command, dir string) error {
	name := file(cmd)
	if err := os.WriteFile(filepath.Join(dir, name), page(cmd), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	for _, sub := range documented(cmd) {
		if err := pages(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

// documented are the commands below one that get a page.
func documented(cmd *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() && sub.Name() != "help" {
			out = append(out, sub)
		}
	}
	return out
}

func file(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md" }

func page(cmd *cobra.Command) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s.\n", cmd.CommandPath(), strings.TrimSuffix(cmd.Short, "."))
	if cmd.Long != "" {
		fmt.Fprintf(&b, "\n%s\n", prose(cmd.Long))
	}
	if cmd.Runnable() && cmd.HasParent() && !cmd.HasSubCommands() {
		fmt.Fprintf(&b, "\n```\n%s\n```\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\n## Examples\n\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	}
	if subs := documented(cmd); len(subs) > 0 {
		b.WriteString("\n## Commands\n\n| command | |\n|---|---|\n")
		for _, sub := range subs {
			fmt.Fprintf(&b, "| [%s](%s) | %s |\n", sub.CommandPath(), file(sub), sub.Short)
		}
	}
	flags(&b, "## Flags", cmd.LocalFlags())
	if cmd.HasParent() {
		b.WriteString("\nThe flags of every command, kubectl's own among them, are those of [seictl](seictl.md).\n")
	}
	return b.Bytes()
}

// prose keeps code that cobra's own texts indent as code.
func prose(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if code, ok := strings.CutPrefix(line, "\t"); ok {
			lines[i] = "    " + code
		}
	}
	return strings.Join(lines, "\n")
}

func flags(b *bytes.Buffer, title string, set *pflag.FlagSet) {
	var rows bytes.Buffer
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name, kindOf := "`--"+f.Name+"`", ""
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		if kind != "" {
			kindOf = " " + kind
		}
		if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0" && d != "0s" {
			usage += " (default `" + d + "`)"
		}
		fmt.Fprintf(&rows, "| %s%s | %s |\n", name, kindOf, strings.ReplaceAll(usage, "|", "\\|"))
	})
	if rows.Len() > 0 {
		fmt.Fprintf(b, "\n%s\n\n| flag | |\n|---|---|\n%s", title, rows.String())
	}
}
