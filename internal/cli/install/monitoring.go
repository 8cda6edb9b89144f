package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
)

// What `seictl install monitoring -o` prints besides manifests.
const (
	outputRules     = "rules"
	outputDashboard = "dashboard"
)

// MonitoringOptions of `seictl install monitoring`.
type MonitoringOptions struct {
	*factory.Factory
	// Apply applies instead of printing.
	Apply   bool
	Output  string
	Timeout time.Duration
}

const monitoringExample = `  # With prometheus-operator: look at it first, then apply it
  seictl install monitoring
  seictl install monitoring --apply

  # For a Prometheus without an operator, and for a Grafana that imports by hand
  seictl install monitoring -o rules > /etc/prometheus/rules/seictl.yaml
  seictl install monitoring -o dashboard > seictl.json`

// NewCmdMonitoring returns `seictl install monitoring`.
func NewCmdMonitoring(f *factory.Factory, runF func(context.Context, *MonitoringOptions) error) *cobra.Command {
	o := &MonitoringOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "monitoring",
		Short: "Alerts, scraping and a Grafana dashboard",
		Long: "Print (the default) or apply what makes trouble page, on top of `seictl install operator`: a PrometheusRule, a\n" +
			"PodMonitor with the account it scrapes as and the CA it trusts, which comes with the operator where cert-manager is,\n" +
			"and a Grafana dashboard in a ConfigMap. Applying needs the CRDs of prometheus-operator; -o rules and -o dashboard\n" +
			"print plain files for those who do without. Each alert has a page in docs/runbooks. Applying again is\n" +
			"harmless.",
		Example: monitoringExample,
		Args:    factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return monitoringRun(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Apply, "apply", false, "apply to the cluster instead of printing")
	cmd.Flags().StringVarP(&o.Output, "output", "o", output.YAML, "what is printed: yaml, rules or dashboard")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Minute, "with --apply: give up after this long")
	return cmd
}

func monitoringRun(ctx context.Context, o *MonitoringOptions) error {
	switch o.Output {
	case outputRules, outputDashboard:
		return o.printFile()
	case output.YAML:
	default:
		return fmt.Errorf("-o: found %q, wanted yaml, rules or dashboard", o.Output)
	}
	objects, err := config.Monitoring()
	if err != nil {
		return err
	}
	if !o.Apply {
		return (&BaseOptions{Factory: o.Factory}).print(objects)
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	// Refuse before anything is written.
	if err := served(c.Client.RESTMapper(), objects); err != nil {
		return err
	}
	i := &installer{cluster: c, out: o.Out}
	for _, obj := range objects {
		if err := i.apply(ctx, obj); err != nil {
			return err
		}
	}
	return nil
}

func (o *MonitoringOptions) printFile() error {
	if o.Apply {
		return fmt.Errorf("-o %s prints a file that is no manifest; next: leave out --apply", o.Output)
	}
	read := config.AlertRules
	if o.Output == outputDashboard {
		read = config.Dashboard
	}
	data, err := read()
	if err != nil {
		return err
	}
	if _, err := o.Out.Write(data); err != nil {
		return fmt.Errorf("writing the %s: %w", o.Output, err)
	}
	return nil
}

// served fails when the cluster does not know the kind of an object.
func served(mapper meta.RESTMapper, objects []*unstructured.Unstructured) error {
	var unknown []string
	for _, o := range objects {
		gvk := o.GroupVersionKind()
		_, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		switch {
		case meta.IsNoMatchError(err):
			unknown = append(unknown, gvk.Kind)
		case err != nil:
			return fmt.Errorf("asking the cluster whether it knows %s: %w", gvk.Kind, err)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("the cluster does not know %s: prometheus-operator is not installed; nothing was changed; next: install its CRDs, "+
			"or use the output of seictl install monitoring -o rules", strings.Join(unknown, " and "))
	}
	return nil
}
