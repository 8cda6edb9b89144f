package install

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/settings"
)

// OperatorOptions of `seictl install operator`.
type OperatorOptions struct {
	*factory.Factory
	// Apply applies instead of printing.
	Apply   bool
	Image   string
	Output  string
	Timeout time.Duration
}

const operatorExample = `  # Look at it first, or put it into a GitOps repository
  seictl install operator --image registry.example/seictl:v1.0.0 > seictl-operator.yaml

  # Apply it; seictl install base --apply comes first
  seictl install operator --image registry.example/seictl:v1.0.0 --apply`

// NewCmdOperator returns `seictl install operator`.
func NewCmdOperator(f *factory.Factory, runF func(context.Context, *OperatorOptions) error) *cobra.Command {
	o := &OperatorOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "The Deployment that carries out every edit, its rights and its metrics",
		Long: "Print (the default) or apply what runs `seictl operator run` in the cluster, on top of `seictl install base`: a\n" +
			"ServiceAccount with the least rights it can do with, the Deployment, the Service of its metrics and their\n" +
			"certificate by cert-manager, a PodDisruptionBudget and a NetworkPolicy. Without cert-manager the certificate is\n" +
			"left out when applying: /metrics is self-signed then. Applying again is harmless.",
		Example: operatorExample,
		Args:    factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return operatorRun(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Apply, "apply", false, "apply to the cluster instead of printing")
	cmd.Flags().StringVar(&o.Image, "image", "", "image that holds this seictl (required)")
	cmd.Flags().StringVarP(&o.Output, "output", "o", output.YAML, "output format of what is printed: yaml")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Minute, "with --apply: give up after this long")
	return cmd
}

func operatorRun(ctx context.Context, o *OperatorOptions) error {
	if o.Output != output.YAML {
		return fmt.Errorf("-o: found %q, wanted yaml", o.Output)
	}
	if o.Image == "" {
		return fmt.Errorf("--image is required: the image that holds this seictl; see docs/operator.md for how to make one")
	}
	objects, err := config.Operator(o.Image)
	if err != nil {
		return fmt.Errorf("--image: %w", err)
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
	var ns corev1.Namespace
	err = c.Client.Get(ctx, client.ObjectKey{Name: settings.Namespace}, &ns)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("namespace %s does not exist; next: seictl install base --apply", settings.Namespace)
	case err != nil && !apierrors.IsForbidden(err):
		return c.Explain(err, "get", "namespaces", "", settings.Namespace)
	}
	return o.apply(ctx, &installer{cluster: c, out: o.Out}, objects)
}

func (o *OperatorOptions) apply(ctx context.Context, i *installer, objects []*unstructured.Unstructured) error {
	objects, note, certErr := i.metricsCertificate(ctx, objects)
	for _, obj := range objects {
		if err := i.apply(ctx, obj); err != nil {
			return err
		}
	}
	if note != "" {
		fmt.Fprintln(o.ErrOut, note)
	}
	return certErr
}
