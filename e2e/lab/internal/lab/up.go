package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// bootTime is how long a component may take to become healthy; a machine that
// builds something else meanwhile needs a good part of it.
const bootTime = 3 * time.Minute

// Up brings the lab to the state it should be in, from whichever it is in.
func Up(ctx context.Context, e *Env) error {
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	start := time.Now()
	if err := e.claim(); err != nil {
		return err
	}
	if owner := bridgeOwner(); !e.sim() && owner != "" && owner != e.Dir {
		return fmt.Errorf("a lab runs on this machine already, from %s; stop it with: SEICTL_LAB_DIR=%s e2e/lab/lab.sh down", owner, owner)
	}
	// What this process runs (an import, say) is found by `down`, if this one is
	// killed; it is not marked itself.
	if err := os.Setenv(ownedVar, e.Dir); err != nil {
		return fmt.Errorf("marking what is started: %w", err)
	}
	if len(e.owned()) == 0 {
		if err := e.portsFree(); err != nil {
			return err
		}
	}
	if err := e.prepare(); err != nil {
		return err
	}
	started, err := e.startAll(ctx)
	if err != nil {
		return err
	}
	if err := e.setUpCluster(ctx); err != nil {
		return err
	}
	if started == 0 {
		e.say("was up: %.1fs", time.Since(start).Seconds())
	} else {
		e.say("up after %.1fs, %d component(s) started", time.Since(start).Seconds(), started)
	}
	e.say("export KUBECONFIG=%s", e.Kubeconfig())
	return nil
}

// prepare makes what the processes need before they start.
func (e *Env) prepare() error {
	if err := os.MkdirAll(e.Dir, 0o755); err != nil {
		return fmt.Errorf("making the lab's directory: %w", err)
	}
	if err := writeFile(e.path("tier"), []byte(e.tier.name), 0o644); err != nil {
		return err
	}
	if !e.sim() {
		if err := e.prepareHost(); err != nil {
			return fmt.Errorf("preparing the machine: %w", err)
		}
	}
	if err := e.makePKI(); err != nil {
		return fmt.Errorf("making the certificates: %w", err)
	}
	if err := e.writeConfigs(); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// startAll starts what does not run or does not answer, and says how many
// components that were. What others need comes first, the rest side by side.
func (e *Env) startAll(ctx context.Context) (int, error) {
	todo, err := e.unhealthy(ctx)
	if err != nil {
		return 0, err
	}
	stages := [][]string{
		{"etcd", "containerd", "faults", "kube-apiserver"},
		{"kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "provisioner", simulator},
	}
	for n, stage := range stages {
		group, groupCtx := errgroup.WithContext(ctx)
		for _, c := range todo {
			if slices.Contains(stage, c.name) {
				group.Go(func() error { return e.step(c.name, func() error { return e.start(groupCtx, c) }) })
			}
		}
		if err := group.Wait(); err != nil {
			return 0, err
		}
		if n == 0 && !e.sim() { // containerd is up, and kubelet needs the pause image
			count := 0
			start := time.Now()
			if count, err = e.loadImages(); err != nil {
				return 0, fmt.Errorf("loading the images: %w", err)
			}
			if count > 0 {
				e.say("%-38s %6.1fs", fmt.Sprintf("%d image(s) loaded", count), time.Since(start).Seconds())
			}
		}
	}
	return len(todo), nil
}

// unhealthy lists the components that have to be started, or started anew.
func (e *Env) unhealthy(ctx context.Context) ([]component, error) {
	list := e.components()
	bad := make([]bool, len(list))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range list {
		group.Go(func() error {
			bad[i] = e.mustStart(ctx, c)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var todo []component
	for i, c := range list {
		if bad[i] {
			todo = append(todo, c)
		}
	}
	return todo, nil
}

// mustStart says whether a component does not run, does not answer, or runs an
// older build or with other arguments.
func (e *Env) mustStart(ctx context.Context, c component) bool {
	r, ok := e.running(c.name)
	if !ok || !slices.Equal(r.Argv, c.argv) || (strings.HasPrefix(c.argv[0], e.Cache) && r.Exe != exeStamp(c.argv[0])) {
		return true
	}
	return c.healthy(ctx, e) != nil
}

// start starts a component anew and waits until it is healthy.
func (e *Env) start(ctx context.Context, c component) error {
	if err := e.stop(c.name, c.grace); err != nil {
		return err
	}
	ended, err := e.launch(c)
	if err != nil {
		return err
	}
	return e.waitHealthy(ctx, c, ended)
}

// waitHealthy waits until a component answers. Ended may be nil, for one that
// this process did not start.
func (e *Env) waitHealthy(ctx context.Context, c component, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	last := errors.New("not asked yet")
	for {
		// No server tells when it starts to answer, so it is asked.
		select {
		case err := <-ended:
			return fmt.Errorf("%s ended: %w; the end of its log:\n%s", c.name, err, e.logTail(c.name))
		case <-ctx.Done():
			return fmt.Errorf("%s is not healthy: %w (last: %w); the end of its log:\n%s", c.name, ctx.Err(), last, e.logTail(c.name))
		case <-time.After(50 * time.Millisecond):
		}
		if last = c.healthy(ctx, e); last == nil {
			return nil
		}
	}
}

// logTail is the end of a component's log, for an error message.
func (e *Env) logTail(name string) string {
	data, err := os.ReadFile(e.path("logs", name+".log"))
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

// Start starts one component and waits until it is healthy.
func Start(ctx context.Context, e *Env, name string) error {
	c, err := e.component(name)
	if err != nil {
		return err
	}
	if err := e.claim(); err != nil {
		return err
	}
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if !e.exists() {
		return errors.New("there is no lab: run `lab up`")
	}
	return e.step(name+" started", func() error {
		if _, ok := e.running(name); ok && c.healthy(ctx, e) == nil {
			return nil
		}
		return e.start(ctx, c)
	})
}

// Stop stops one component and waits until it is gone.
func Stop(e *Env, name string, now bool) error {
	c, err := e.component(name)
	if err != nil {
		return err
	}
	if err := e.claim(); err != nil {
		return err
	}
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return e.step(name+" stopped", func() error {
		if r, ok := e.running(name); ok && now {
			if err := kill(r.PID, r.Start); err != nil {
				return err
			}
		}
		return e.stop(name, c.grace)
	})
}
