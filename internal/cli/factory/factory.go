// Package factory holds what every command needs: streams, flags, preferences and the way to the cluster.
package factory

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sei.io/seictl/internal/cli/config"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/ui"
)

// Factory is injected into every command.
type Factory struct {
	genericiooptions.IOStreams
	// Flags are kubectl's own.
	Flags *genericclioptions.ConfigFlags
	// Preferences of the client; set before a command runs.
	Preferences *config.Preferences
	// Color is the mode of --color, and NoColor whether the environment asks for none.
	Color   string
	NoColor bool
	// Terminal says what the streams are.
	Terminal ui.Terminal
	// Command is what the program was called by: "seictl", or "kubectl seictl" as a plugin.
	Command string
	// Now tells the time.
	Now func() time.Time
	// Connect opens the cluster; see Cluster. It does no I/O but reading the kubeconfig.
	Connect func(*Factory) (*Cluster, error)

	cluster *Cluster
}

// New returns a factory that works with the real world.
func New(streams genericiooptions.IOStreams) *Factory {
	return &Factory{
		IOStreams:   streams,
		Flags:       genericclioptions.NewConfigFlags(true),
		Preferences: &config.Preferences{},
		Color:       ui.ColorAuto,
		Command:     CommandName,
		Terminal:    ui.Terminal{Width: 80},
		Now:         time.Now,
		Connect:     connect,
	}
}

// Cluster is the cluster of the kubeconfig. An error says that none is configured; whether it answers shows on first use.
func (f *Factory) Cluster() (*Cluster, error) {
	if f.cluster != nil {
		return f.cluster, nil
	}
	c, err := f.Connect(f)
	if err != nil {
		return nil, err
	}
	f.cluster = c
	return c, nil
}

// Namespace is that of the flags or of the context, and whether a flag said so.
func (f *Factory) Namespace() (namespace string, explicit bool, err error) {
	namespace, explicit, err = f.Flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", false, fmt.Errorf("reading the kubeconfig: %w; next: kubectl config get-contexts", err)
	}
	return namespace, explicit, nil
}

// Printer writes to standard output for people.
func (f *Factory) Printer() *ui.Printer {
	return f.printer(f.Out, f.Terminal.Out)
}

// Notices writes to standard error for people.
func (f *Factory) Notices() *ui.Printer {
	return f.printer(f.ErrOut, f.Terminal.Err)
}

func (f *Factory) printer(out io.Writer, tty bool) *ui.Printer {
	p := ui.NewPrinter(out, ui.UseColor(f.Color, tty, f.NoColor), f.Terminal.Width)
	p.Fit, p.Rename = tty, f.Rename
	return p
}

// Confirm asks, on a terminal only; elsewhere --yes is required.
func (f *Factory) Confirm(question string) error {
	if !f.Terminal.In || !f.Terminal.Err {
		return fmt.Errorf("standard input is no terminal, so nobody can answer %q: add --yes", question)
	}
	ok, err := ui.Confirm(f.In, f.ErrOut, question)
	if err != nil {
		return err
	}
	if !ok {
		return exit.Errorf(exit.Declined, "declined: nothing was changed")
	}
	return nil
}

// WithTimeout ends a context after --timeout with a cause that says so; zero is no limit.
func WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, exit.ErrTimedOut)
}

// NoArgs is cobra.NoArgs with an error that says what to do.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q for %q: see '%s --help'", args[0], cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}
