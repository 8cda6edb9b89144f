// Package seid is a stand-in for the chain daemon: it starts, makes blocks, answers its RPC, guards its data directory
// and needs time to stop, and knows nothing of any blockchain.
package seid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
)

// container is seid's name in the pod and in the fault registry.
const container = "seid"

const usage = "usage: seid init MONIKER --chain-id ID [--home DIR] [--overwrite] | start [--home DIR] | version"

// Main runs a seid command line and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	if err := run(args, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "Error:", err)
		return 1
	}
	return 0
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := pflag.NewFlagSet("seid", pflag.ContinueOnError)
	// A real seid has hundreds of flags; the ones that mean nothing here are let through.
	flags.ParseErrorsAllowlist.UnknownFlags = true
	homeDir := flags.String("home", cmp.Or(os.Getenv("SEID_HOME"), "/sei"), "home directory")
	overwrite := flags.BoolP("overwrite", "o", false, "let init replace genesis.json and config.toml")
	chainID := flags.String("chain-id", "sei-lab", "name of the chain, used by init")
	if err := flags.Parse(args); err != nil {
		return err
	}
	version := cmp.Or(os.Getenv("SEID_VERSION"), "dev")
	switch flags.Arg(0) {
	case "version":
		_, err := fmt.Fprintln(stdout, version)
		return err
	case "init":
		if flags.NArg() != 2 {
			return errors.New(usage)
		}
		return home(*homeDir).initialise(flags.Arg(1), *chainID, *overwrite, time.Now())
	case "start":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		p := &process{
			home: home(*homeDir), version: version, host: cmp.Or(os.Getenv("SEID_LISTEN"), "0.0.0.0"),
			client: faults.FromEnvironment(ctx, container), log: slog.New(slog.NewJSONHandler(stderr, nil)),
			podUID: podUID(), crash: os.Getenv("SEID_CRASH") == "1", wait: time.Sleep,
		}
		p.hostname, _ = os.Hostname()
		return p.run(ctx)
	default:
		return fmt.Errorf("unknown command %q; %s", flags.Arg(0), usage)
	}
}
