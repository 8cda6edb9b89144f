// Command mutate proves that the end-to-end suite notices when a safety gate of the engine is gone: it builds seictl
// without one gate at a time and requires a named scenario to fail. Run it as `make mutate-gates`, with the lab up.
//
//	mutate [GATE...]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l := lab{dir: dir, test: filepath.Join(dir, "e2e.test")}
	if err := command(ctx, nil, "go", "test", "-c", "-tags", "e2e", "-o", l.test, "./e2e"); err != nil {
		return fmt.Errorf("building the end-to-end tests: %w", err)
	}
	if err := l.baseline(ctx, chosen); err != nil {
		return err
	}
	var survived []string
	for _, g := range chosen {
		begun := time.Now()
		scenario, err := l.without(ctx, g)
		if err != nil {
			return fmt.Errorf("gate %s: %w", g.name, err)
		}
		if scenario == "" {
			survived = append(survived, g.name)
			fmt.Fprintf(out, "%-28s NOT NOTICED by %s\n", g.name, strings.Join(g.scenarios, ", "))
			continue
		}
		fmt.Fprintf(out, "%-28s noticed by %s (%.0fs)\n", g.name, scenario, time.Since(begun).Seconds())
	}
	if len(survived) > 0 {
		return fmt.Errorf("no scenario fails without: %s", strings.Join(survived, ", "))
	}
	return nil
}

func choose(names []string) ([]gate, error) {
	if len(names) == 0 {
		return gates, nil
	}
	var chosen []gate
	for _, name := range names {
		i := slices.IndexFunc(gates, func(g gate) bool { return g.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no gate %q", name)
		}
		chosen = append(chosen, gates[i])
	}
	return chosen, nil
}

// lab runs scenarios with binaries of its own.
type lab struct{ dir, test string }

// baseline requires that the scenarios pass with every gate in place: else their failure proves nothing.
func (l lab) baseline(ctx context.Context, chosen []gate) error {
	bin := filepath.Join(l.dir, "seictl")
	if err := build(ctx, bin, ""); err != nil {
		return err
	}
	var names []string
	for _, g := range chosen {
		names = append(names, g.scenarios...)
	}
	slices.Sort(names)
	out, err := l.scenarios(ctx, bin, slices.Compact(names))
	if err != nil {
		return fmt.Errorf("with every gate in place, a scenario fails: %w\n%s", err, out)
	}
	return nil
}

// without names the scenario that fails without a gate; empty when none does.
func (l lab) without(ctx context.Context, g gate) (string, error) {
	overlay, err := l.overlay(g)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(l.dir, "seictl-without-"+g.name)
	if err := build(ctx, bin, overlay); err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(bin) }()
	out, err := l.scenarios(ctx, bin, g.scenarios)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", err
	}
	for _, name := range g.scenarios {
		if strings.Contains(out, "--- FAIL: TestScenarios/"+name) {
			return name, nil
		}
	}
	return "", fmt.Errorf("the tests failed, and none of its scenarios did:\n%s", out)
}

// overlay has the Go command read the gate's file without the gate.
func (l lab) overlay(g gate) (string, error) {
	source, err := os.ReadFile(g.file)
	if err != nil {
		return "", fmt.Errorf("reading the gate: %w", err)
	}
	mutated, err := g.takenOut(string(source))
	if err != nil {
		return "", err
	}
	to := filepath.Join(l.dir, g.name+".go")
	if err := os.WriteFile(to, []byte(mutated), 0o600); err != nil {
		return "", fmt.Errorf("writing the mutant: %w", err)
	}
	from, err := filepath.Abs(g.file)
	if err != nil {
		return "", fmt.Errorf("finding the gate: %w", err)
	}
	data, err := json.Marshal(map[string]map[string]string{"Replace": {from: to}})
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	overlay := filepath.Join(l.dir, g.name+".json")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	return overlay, nil
}

// takenOut is a source without the gate.
func (g gate) takenOut(source string) (string, error) {
	if n := strings.Count(source, g.find); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, wanted once: hack/mutate/gates.go does not fit the source any more", g.file, g.find, n)
	}
	return strings.Replace(source, g.find, g.replace, 1), nil
}

func build(ctx context.Context, bin, overlay string) error {
	args := []string{"build", "-tags", "failpoints", "-o", bin}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if err := command(ctx, nil, "go", append(args, "./cmd/seictl")...); err != nil {
		return fmt.Errorf("building %s: %w", filepath.Base(bin), err)
	}
	return nil
}

// scenarios runs scenarios against a binary and returns what they printed.
func (l lab) scenarios(ctx context.Context, bin string, names []string) (string, error) {
	cmd := exec.CommandContext(ctx, l.test, "-test.timeout=20m", "-test.run=^TestScenarios$/^("+strings.Join(names, "|")+")$")
	cmd.Dir = "e2e"
	cmd.Env = append(os.Environ(), "SEICTL_BIN="+bin, "SEICTL_FAILPOINTS_BIN="+bin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("running %s: %w", strings.Join(names, ", "), err)
	}
	if !strings.Contains(string(out), "PASS") || strings.Contains(string(out), "no tests to run") {
		return string(out), fmt.Errorf("no scenario ran of %s", strings.Join(names, ", "))
	}
	return string(out), nil
}

func command(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
