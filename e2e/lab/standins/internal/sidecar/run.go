package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// container is the sidecar's name in the pod and in the fault registry.
const container = "sei-sidecar"

// errRestart ends a sidecar that was told to restart.
var errRestart = errors.New("restarting because a fault says so")

// FromEnvironment reads the sidecar's configuration; it has no flags.
func FromEnvironment(getenv func(string) string) (Config, error) {
	c := Config{
		Home:     cmp.Or(getenv("SEI_SIDECAR_HOME"), "/sei"),
		Port:     cmp.Or(getenv("SEI_SIDECAR_PORT"), "7777"),
		Version:  cmp.Or(getenv("SIDECAR_VERSION"), "dev"),
		TaskTime: 50 * time.Millisecond,
	}
	switch mode := getenv("SEI_SIDECAR_AUTHN_MODE"); mode {
	case "":
	case "trusted-header":
		c.TrustedHeader = true
	default:
		return Config{}, fmt.Errorf("SEI_SIDECAR_AUTHN_MODE is %q; want trusted-header, or nothing", mode)
	}
	return c, nil
}

// address is where the server listens: behind the proxy nobody but the pod itself may reach it.
func (c Config) address() string {
	if c.TrustedHeader {
		return net.JoinHostPort("127.0.0.1", c.Port)
	}
	return net.JoinHostPort("", c.Port)
}

// Main runs the sidecar until SIGTERM and returns its exit code.
func Main(out io.Writer) int {
	log := slog.New(slog.NewJSONHandler(out, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, log); err != nil {
		log.Error("sidecar ended", "error", err)
		return 1
	}
	log.Info("sidecar stopped")
	return 0
}

func run(ctx context.Context, log *slog.Logger) error {
	config, err := FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	config.Log = log
	return Run(ctx, config, Host{
		Listen:  func(address string) (net.Listener, error) { return net.Listen("tcp", address) },
		Serving: func(http.Handler) {},
	}, faults.FromEnvironment(ctx, container))
}

// Host is what a sidecar takes from where it runs: a container of its own, or a process that it shares with thousands.
type Host struct {
	// Listen opens a port.
	Listen func(address string) (net.Listener, error)
	// Serving is told what answers, before the port opens.
	Serving func(http.Handler)
}

// Run runs a sidecar on a host until ctx ends.
func Run(ctx context.Context, config Config, host Host, client *faults.Client) error {
	config.Faults = client.Source
	server, err := New(config)
	if err != nil {
		return err
	}
	defer server.stop()

	failed := make(chan error, 2)
	client.OnChange = func(state registry.State, born bool) {
		if _, ok := state.Get(kinds.Restart); ok && !born {
			select {
			case failed <- errRestart:
			default: // already on its way out
			}
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go client.Watch(ctx)

	handler := server.Handler()
	host.Serving(handler)
	listener, err := host.Listen(config.address())
	if err != nil {
		return fmt.Errorf("opening the port: %w", err)
	}
	httpServer := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer func() { _ = httpServer.Close() }()
	go func() { failed <- httpServer.Serve(listener) }()
	config.Log.Info("sidecar is listening", "address", listener.Addr().String(), "trustedHeader", config.TrustedHeader)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}
