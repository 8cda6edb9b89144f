package seid

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// RPCPort is the port of the RPC.
const RPCPort = portRPC

// Init is `seid init`.
func Init(homeDir, moniker, chainID string) error {
	return home(homeDir).initialise(moniker, chainID, false, time.Now())
}

// Embedded is a seid among thousands in one process. It opens its RPC and no other port, and its height follows the clock.
type Embedded struct {
	// Home is the home directory.
	Home string
	// Version, Hostname and PodUID are what the logs in the home say.
	Version, Hostname, PodUID string
	// Crash ends it at once, as the crash image does.
	Crash bool
	// Listen opens a port.
	Listen func(address string) (net.Listener, error)
	// Serving is told what answers, before the port opens.
	Serving func(http.Handler)
	// Opening is how long the database takes to open, Closing how long it takes to close; 0 for a moment.
	Opening, Closing time.Duration
	// Killed is closed by a SIGKILL.
	Killed <-chan struct{}
	// Changed is called when what the RPC says may have changed.
	Changed func()
}

// errKilled ends a seid that was killed.
var errKilled = errors.New("killed")

// Run is `seid start`, until ctx ends and the database is closed.
func (e Embedded) Run(ctx context.Context, client *faults.Client) error {
	p := &process{
		home: home(e.Home), version: e.Version, client: client, log: slog.New(slog.DiscardHandler),
		hostname: e.Hostname, podUID: e.PodUID, crash: e.Crash,
	}
	if err := p.record(startsFile); err != nil {
		return err
	}
	if p.crash || client.Source.Has(kinds.CrashLoop) {
		return errCrash
	}
	lock, err := p.home.lock()
	if err != nil {
		if errors.Is(err, errVolumeInUse) {
			err = errors.Join(err, p.record(conflictFile))
		}
		return err
	}
	defer func() { _ = lock.Close() }()
	if !e.pass(ctx, e.Opening) {
		return p.record(stopsFile)
	}
	n, err := p.open()
	if err != nil {
		return err
	}
	n.chain.interval = blockInterval
	if err := e.serve(ctx, n, client); err != nil {
		return err
	}
	if err := n.chain.store(); err != nil {
		return err
	}
	p.wait = func(d time.Duration) { e.pass(context.WithoutCancel(ctx), max(d, e.Closing)) }
	p.closeDatabase()
	select {
	case <-e.Killed:
		return errKilled
	default:
		return p.record(stopsFile)
	}
}

// serve answers until ctx ends or a fault says to crash; afterwards the port is closed.
func (e Embedded) serve(ctx context.Context, n *node, client *faults.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 4)
	client.OnChange = func(state registry.State, _ bool) {
		if _, ok := state.Get(kinds.CrashLoop); ok {
			failed <- errCrash
		}
		_, stuck := state.Get(kinds.StuckHeight)
		n.chain.setStuck(stuck, time.Now())
		e.Changed()
	}
	n.chain.setStuck(client.Source.Has(kinds.StuckHeight), time.Now())
	go client.Watch(ctx)
	handler := n.cometRPC()
	e.Serving(handler)
	listener, err := e.Listen(net.JoinHostPort("0.0.0.0", strconv.Itoa(RPCPort)))
	if err != nil {
		return fmt.Errorf("opening a port: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTime}
	defer func() { _ = server.Close() }()
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving the RPC: %w", err)
		}
	}()
	e.Changed()
	select {
	case <-ctx.Done():
		return nil
	case <-e.Killed:
		return errKilled
	case err := <-failed:
		return err
	}
}

// pass lets time pass, unless ctx or the process ends before.
func (e Embedded) pass(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-e.Killed:
		return false
	}
}
