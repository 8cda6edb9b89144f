package seid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"time"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/internal/files"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

const (
	blockInterval = 200 * time.Millisecond
	// closeTime is how long closing the database takes without a fault.
	closeTime = 100 * time.Millisecond
)

// errCrash ends a seid that was told to crash.
var errCrash = errors.New("panic: this seid was told to crash")

// logLine is a line of starts.log, stops.log and conflicts.log.
type logLine struct {
	Time     time.Time `json:"time"`
	Version  string    `json:"version"`
	Hostname string    `json:"hostname"`
	PodUID   string    `json:"podUID"`
	PID      int       `json:"pid"`
}

// process is one run of `seid start`.
type process struct {
	home    home
	version string
	// host is the address to listen on.
	host   string
	client *faults.Client
	log    *slog.Logger
	// hostname, podUID and crash are of the container.
	hostname string
	podUID   string
	crash    bool
	// wait is how the time to close the database passes.
	wait func(time.Duration)
}

// run serves until ctx ends (SIGTERM), then closes the database. Any error means exit code 1.
func (p *process) run(ctx context.Context) error {
	if err := p.record(startsFile); err != nil {
		return err
	}
	if p.crash || p.client.Source.Has(kinds.CrashLoop) {
		return errCrash
	}
	lock, err := p.home.lock()
	if err != nil {
		if errors.Is(err, errVolumeInUse) {
			p.log.Error("TWO SEID ON ONE VOLUME: refusing to start, another seid has this data directory open",
				"home", string(p.home))
			err = errors.Join(err, p.record(conflictFile))
		}
		return err
	}
	defer func() { _ = lock.Close() }()

	n, err := p.open()
	if err != nil {
		return err
	}
	open, err := listen(p.host, n)
	if err != nil {
		return err
	}
	if err := p.serve(ctx, n, open); err != nil {
		return err
	}
	p.closeDatabase()
	return p.record(stopsFile)
}

// open reads what the RPC needs from the home.
func (p *process) open() (*node, error) {
	chainID, err := p.home.chainID()
	if err != nil {
		return nil, err
	}
	id, err := p.home.nodeID()
	if err != nil {
		return nil, err
	}
	chain, err := openChain(p.home, p.client.Source, time.Now())
	if err != nil {
		return nil, err
	}
	return &node{id: id, moniker: p.hostname, chainID: chainID, version: p.version, chain: chain}, nil
}

// serve makes blocks and answers until ctx ends or something breaks; afterwards every port is closed, as a real seid
// closes its RPC before its database.
func (p *process) serve(ctx context.Context, n *node, open *ports) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 16)
	p.client.OnChange = func(state registry.State, _ bool) {
		if _, ok := state.Get(kinds.CrashLoop); ok {
			failed <- errCrash
		}
	}
	go p.client.Watch(ctx)
	ticker := time.NewTicker(blockInterval)
	defer ticker.Stop()
	go func() {
		if err := n.chain.run(ctx, ticker.C); err != nil {
			failed <- err
		}
	}()
	open.start(failed)
	defer open.close()
	height, _ := n.chain.latest()
	p.log.Info("seid is running", "version", p.version, "chain", n.chainID, "height", height)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// closeDatabase takes the time that a real seid needs; whoever kills it meanwhile leaves no line in stops.log.
func (p *process) closeDatabase() {
	wait := closeTime
	if f, ok := p.client.Source.Get(kinds.SlowStop); ok {
		var params kinds.SlowStopParams
		if err := f.Decode(&params); err != nil {
			p.log.Error("ignoring a fault", "error", err)
		} else {
			wait = time.Duration(params.Seconds * float64(time.Second))
		}
	}
	p.log.Info("closing the database", "takes", wait.String())
	p.wait(wait)
	p.log.Info("database closed")
}

func (p *process) record(name string) error {
	if err := os.MkdirAll(p.home.path("data"), 0o755); err != nil {
		return fmt.Errorf("creating the data directory: %w", err)
	}
	return files.AppendJSON(p.home.path(name), logLine{
		Time: time.Now().UTC(), Version: p.version, Hostname: p.hostname, PodUID: p.podUID, PID: os.Getpid(),
	})
}

var podInMounts = regexp.MustCompile(`/pods/([0-9a-f-]{36})/`)

// podUID finds the pod's UID without help from the pod spec: kubelet mounts /etc/hosts from the pod's own directory.
func podUID() string {
	raw, _ := os.ReadFile("/proc/self/mountinfo")
	return podUIDFrom(os.Getenv("POD_UID"), string(raw))
}

func podUIDFrom(environment, mounts string) string {
	found := podInMounts.FindStringSubmatch(mounts)
	if found == nil {
		return environment
	}
	return cmp.Or(environment, found[1])
}
