// Package operator holds `seictl operator`: the engine as a continuous process.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/version"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/operator"
)

// gcPercent is how much the heap may grow between two collections, in percent; GOGC overrides it.
const gcPercent = 50

// NewCmdOperator returns `seictl operator`.
func NewCmdOperator(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Drive all nodes of a cluster continuously",
		Args:  factory.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(NewCmdRun(f, nil))
	return cmd
}

// RunOptions of `seictl operator run`.
type RunOptions struct {
	*factory.Factory
	MetricsAddress, MetricsCertDir, HealthAddress string
	PprofAddress                                  string
	NodeWorkers, DeploymentWorkers                int
	QPS                                           float32
	Burst                                         int
	LogLevel                                      string
	PortForward                                   bool
	Once                                          bool
	Timeout, LockTimeout                          time.Duration
	ServedCheckInterval                           time.Duration
}

const runExample = `  # In the cluster, as seictl install operator sets it up
  seictl operator run

  # In CI: carry out whatever is due, then exit with the codes of seictl node apply
  seictl operator run --once --port-forward --timeout 30m`

// NewCmdRun returns `seictl operator run`.
func NewCmdRun(f *factory.Factory, runF func(context.Context, *RunOptions) error) *cobra.Command {
	o := &RunOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Carry out every edit of a SeiNode or SeiNodeDeployment, from anywhere",
		Long: "Reconcile all SeiNodes and SeiNodeDeployments of the cluster, while holding the Lease seictl-engine, which\n" +
			"keeps every other driver out. On SIGTERM what is under way finishes, and the Lease is released. Logs are JSON,\n" +
			"on standard error. Settings come from the ConfigMap sei-system/seictl-config and are followed while it runs.",
		Example: runExample,
		Args:    factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return o.run(cmd.Context())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8443", "where /metrics is served over HTTPS, to who may get it; 0 for nowhere")
	fl.StringVar(&o.MetricsCertDir, "metrics-cert-dir", "", "directory with tls.crt and tls.key of /metrics, followed when they change; self-signed until they are there")
	fl.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served; 0 for nowhere")
	fl.StringVar(&o.PprofAddress, "pprof-bind-address", "0", "where Go's profiles are served, over plain HTTP to anybody who can connect: 127.0.0.1:6060, say; 0 for nowhere")
	fl.IntVar(&o.NodeWorkers, "node-workers", 16, "how many SeiNodes are reconciled at once")
	fl.IntVar(&o.DeploymentWorkers, "deployment-workers", 2, "how many SeiNodeDeployments are reconciled at once")
	fl.Float32Var(&o.QPS, "kube-api-qps", 100, "requests to the API server per second")
	fl.IntVar(&o.Burst, "kube-api-burst", 200, "requests to the API server in a burst")
	fl.DurationVar(&o.ServedCheckInterval, "served-check-interval", engine.DefaultServedCheckInterval,
		"how often the certificate that a settled node serves is looked at; at most 4 looks a second over all nodes; with --port-forward only when something changed")
	fl.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
	fl.BoolVar(&o.PortForward, "port-forward", false, "reach pods through the API server: from outside the cluster")
	fl.BoolVar(&o.Once, "once", false, "end when nothing is left to do, and say how it came out")
	fl.DurationVar(&o.Timeout, "timeout", 0, "with --once: give up after this long; 0 for never")
	fl.DurationVar(&o.LockTimeout, "lock-timeout", 0, "with --once: wait this long for another driver")
	return cmd
}

func (o *RunOptions) run(ctx context.Context) error {
	log, err := o.logger()
	if err != nil {
		return err
	}
	for flag, n := range map[string]int{"--node-workers": o.NodeWorkers, "--deployment-workers": o.DeploymentWorkers} {
		if n < 1 {
			return fmt.Errorf("%s: found %d, wanted at least 1", flag, n)
		}
	}
	if o.ServedCheckInterval < time.Second {
		return fmt.Errorf("--served-check-interval: found %s, wanted at least 1s", o.ServedCheckInterval)
	}
	if !o.Once && (o.Timeout != 0 || o.LockTimeout != 0) {
		return errors.New("--timeout and --lock-timeout go with --once")
	}
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	klog.SetLogger(log)
	if os.Getenv("GOGC") == "" {
		// It holds caches of thousands of nodes and makes little garbage: memory is worth more than the collector's time.
		debug.SetGCPercent(gcPercent)
	}
	cfg := c.Config
	cfg.QPS, cfg.Burst = o.QPS, o.Burst
	cfg.UserAgent = "seictl-operator/" + version.Version
	opts := operator.RunOptions{
		Config: cfg, Log: log, MetricsAddress: o.MetricsAddress, MetricsCertDir: o.MetricsCertDir, HealthAddress: o.HealthAddress,
		PprofAddress: o.PprofAddress,
		NodeWorkers:  o.NodeWorkers, DeploymentWorkers: o.DeploymentWorkers, PortForward: o.PortForward, LockTimeout: o.LockTimeout,
		ServedCheckInterval: o.ServedCheckInterval,
	}
	if o.Once {
		return o.once(ctx, opts)
	}
	return operator.Run(ctx, opts)
}

// once tells how every node came out that did not come out well.
func (o *RunOptions) once(ctx context.Context, opts operator.RunOptions) error {
	ctx, cancel := factory.WithTimeout(ctx, o.Timeout)
	defer cancel()
	// Nobody scrapes or probes a run that ends.
	opts.MetricsAddress, opts.HealthAddress = "0", "0"
	result, err := operator.RunOnce(ctx, opts)
	var held *lock.HeldError
	if errors.As(err, &held) {
		return exit.Errorf(exit.LockHeld, "another driver is at work: %w; nothing was changed; next: wait for it, or run again with --lock-timeout 10m", err)
	}
	if err != nil {
		return err
	}
	p := o.Printer()
	for _, name := range slices.Sorted(maps.Keys(result.Failed)) {
		p.Line("%s failed: %s", name, result.Failed[name])
	}
	for _, name := range result.Paused {
		p.Line("%s is paused", name)
	}
	p.Line("%d nodes: %d as they should be, %d failed, %d paused", result.Nodes,
		result.Nodes-len(result.Failed)-len(result.Paused), len(result.Failed), len(result.Paused))
	switch {
	case len(result.Failed) > 0:
		return exit.Silent(exit.Failed)
	case len(result.Paused) > 0:
		return exit.Silent(exit.Paused)
	}
	return nil
}

func (o *RunOptions) logger() (logr.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return logr.Logger{}, fmt.Errorf("--log-level: found %q, wanted debug, info, warn or error", strings.ToLower(o.LogLevel))
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(o.ErrOut, &slog.HandlerOptions{Level: level})), nil
}
