// Package cli puts the commands of seictl together.
package cli

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"sei.io/seictl/internal/cli/check"
	"sei.io/seictl/internal/cli/complete"
	"sei.io/seictl/internal/cli/config"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/fleet"
	"sei.io/seictl/internal/cli/install"
	"sei.io/seictl/internal/cli/node"
	"sei.io/seictl/internal/cli/operator"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/cli/version"
)

// Main runs seictl in this process and returns its exit code.
func Main() int {
	ctx, stop := interruptible(context.Background())
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	f := factory.New(streams)
	f.Terminal = ui.Detect()
	f.NoColor = os.Getenv("NO_COLOR") != ""
	f.Command = commandName(os.Args[0])
	// Libraries log what our own errors say better.
	log.SetOutput(io.Discard)
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	return Run(ctx, f, os.Args[1:])
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, f *factory.Factory, args []string) int {
	cmd := NewCmdRoot(f)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if msg := exit.Message(err); msg != "" {
		fmt.Fprintln(f.ErrOut, f.Notices().Bad("error")+": "+f.Rename(strings.ReplaceAll(strings.TrimSpace(msg), "\n", " ")))
	}
	return exit.Code(err)
}

// NewCmdRoot returns `seictl`.
func NewCmdRoot(f *factory.Factory) *cobra.Command {
	var configFile string
	cmd := &cobra.Command{
		Use:   "seictl",
		Short: "Turn sidecar TLS on, and images over, on running Sei nodes",
		Long: "seictl changes what running Sei nodes run: the difference between the spec of a SeiNode and what it was\n" +
			"observed to run becomes one plan of ordered tasks, with at most one pod cycle.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          factory.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return prepare(f, cmd, configFile)
		},
	}
	cmd.SetIn(f.In)
	cmd.SetOut(f.Out)
	cmd.SetErr(f.ErrOut)
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; see '%s --help'", err, c.CommandPath())
	})
	pf := cmd.PersistentFlags()
	f.Flags.AddFlags(pf)
	pf.StringVar(&configFile, "config", "", "file with preferences (default $XDG_CONFIG_HOME/seictl/config.yaml)")
	pf.StringVar(&f.Color, "color", ui.ColorAuto, "colours: auto, always or never; auto minds NO_COLOR")
	cmd.AddCommand(
		node.NewCmdNode(f),
		fleet.NewCmdFleet(f),
		check.NewCmdCheck(f, nil),
		install.NewCmdInstall(f),
		operator.NewCmdOperator(f),
		version.NewCmdVersion(f, nil),
	)
	complete.Install(cmd, f)
	callAs(cmd, f)
	return cmd
}

// prepare reads the preferences and checks what every command shares.
func prepare(f *factory.Factory, cmd *cobra.Command, configFile string) error {
	p, err := config.Load(configFile)
	if err != nil {
		return err
	}
	if err := p.Preset(cmd.Flags()); err != nil {
		return err
	}
	f.Preferences = p
	switch f.Color {
	case ui.ColorAuto, ui.ColorAlways, ui.ColorNever:
		return nil
	}
	return fmt.Errorf("--color: found %q, wanted auto, always or never", f.Color)
}

// interruptible cancels a context at the first SIGINT or SIGTERM; the second one ends the process at once.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go watchSignals(signals, func() { cancel(exit.ErrInterrupted) }, os.Stderr, os.Exit)
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func watchSignals(signals <-chan os.Signal, cancel func(), errOut io.Writer, end func(int)) {
	<-signals
	cancel()
	<-signals
	fmt.Fprintln(errOut)
	end(exit.Interrupted)
}
