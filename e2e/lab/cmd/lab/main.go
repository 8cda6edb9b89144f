// Command lab runs a real Kubernetes cluster on this machine; lab.sh builds it
// and what it needs. See the README beside lab.sh.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"sei.io/seictl/e2e/lab/internal/faultreg"
	"sei.io/seictl/e2e/lab/internal/lab"
	"sei.io/seictl/e2e/lab/internal/provisioner"
)

const usage = `usage: lab COMMAND

  up                       start the cluster, or repair it
  down                     remove it, and everything it left on the machine
  status [-o json]         its components and their health; exit 1 unless all are well
  stop COMPONENT [--now]   stop one component (--now: SIGKILL) and wait until it is gone
  start COMPONENT          start one component and wait until it is healthy
  kubectl ARGUMENT…        the lab's kubectl, as its administrator

environment
  SEICTL_LAB_DIR    state, logs, sockets, kubeconfig   (/var/lib/seictl-lab)
  SEICTL_LAB_CACHE  what the build makes; outlives down ($XDG_CACHE_HOME/seictl-lab)
  SEICTL_BIN        the seictl to install the base with (bin/seictl of the repository)
`

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// run carries out one command.
func run(ctx context.Context, args []string) error {
	env, err := lab.NewEnv()
	if err != nil {
		return fmt.Errorf("reading the environment: %w", err)
	}
	if len(args) == 0 {
		return errUsage
	}
	command, rest := args[0], args[1:]
	run, ok := commands[command]
	if !ok {
		return errUsage
	}
	return run(ctx, env, rest)
}

// commands carry out what usage says; each checks its own arguments. Those not
// in there are components.
var commands = map[string]func(context.Context, *lab.Env, []string) error{
	"up": func(ctx context.Context, env *lab.Env, args []string) error {
		if len(args) > 0 {
			return errUsage
		}
		return lab.Up(ctx, env)
	},
	"down": func(_ context.Context, env *lab.Env, args []string) error {
		if len(args) > 0 {
			return errUsage
		}
		return lab.Down(env)
	},
	"status": func(ctx context.Context, env *lab.Env, args []string) error {
		asJSON := slices.Equal(args, []string{"-o", "json"}) || slices.Equal(args, []string{"-o=json"})
		if len(args) > 0 && !asJSON {
			return errUsage
		}
		return lab.Status(ctx, env, asJSON, os.Stdout)
	},
	"stop": func(_ context.Context, env *lab.Env, args []string) error {
		now := len(args) == 2 && args[1] == "--now"
		if len(args) != 1 && !now {
			return errUsage
		}
		return lab.Stop(env, args[0], now)
	},
	"start": func(ctx context.Context, env *lab.Env, args []string) error {
		if len(args) != 1 {
			return errUsage
		}
		return lab.Start(ctx, env, args[0])
	},
	"kubectl": func(_ context.Context, env *lab.Env, args []string) error {
		return lab.Kubectl(env, args)
	},
	"run-faults": func(ctx context.Context, _ *lab.Env, args []string) error {
		if len(args) < 2 {
			return errUsage
		}
		return serveFaults(ctx, args[0], args[1:])
	},
	"run-provisioner": func(ctx context.Context, _ *lab.Env, args []string) error {
		if len(args) != 3 {
			return errUsage
		}
		return provisioner.Run(ctx, args[0], args[1], args[2])
	},
}

// serveFaults runs the fault registry on each of the addresses.
func serveFaults(ctx context.Context, file string, addresses []string) error {
	registry, err := faultreg.Open(file)
	if err != nil {
		return fmt.Errorf("opening the fault registry: %w", err)
	}
	failed := make(chan error, len(addresses))
	for _, address := range addresses {
		server := &http.Server{Addr: address, Handler: registry.Handler(), ReadHeaderTimeout: 5 * time.Second}
		context.AfterFunc(ctx, func() { _ = server.Close() })
		go func() { failed <- server.ListenAndServe() }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("serving the fault registry: %w", err)
	}
}
