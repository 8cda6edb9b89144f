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

// fromEnvironment reads the sidecar's configuration; it has no flags.
func fromEnvironment(getenv func(string) string) (Config, error) {
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config, err := fromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	client := faults.FromEnvironment(ctx, container)
	config.Faults, config.Log = client.Source, log
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
	go client.Watch(ctx)

	listener, err := net.Listen("tcp", config.address())
	if err != nil {
		return fmt.Errorf("opening the port: %w", err)
	}
	httpServer := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second}
	defer func() { _ = httpServer.Close() }()
	go func() { failed <- httpServer.Serve(listener) }()
	log.Info("sidecar is listening", "address", listener.Addr().String(), "trustedHeader", config.TrustedHeader)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}
