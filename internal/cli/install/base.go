package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/config"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
)

// BaseOptions of `seictl install base`.
type BaseOptions struct {
	*factory.Factory
	// Apply applies instead of printing.
	Apply bool
	// NodeNamespaces also get what the pods of nodes need.
	NodeNamespaces []string
	Output         string
	Timeout        time.Duration
}

const baseExample = `  # Look at it first, or put it into a GitOps repository
  seictl install base --node-namespace fleet > seictl-base.yaml

  # Apply it
  seictl install base --apply --node-namespace fleet`

// NewCmdBase returns `seictl install base`.
func NewCmdBase(f *factory.Factory, runF func(context.Context, *BaseOptions) error) *cobra.Command {
	o := &BaseOptions{Factory: f}
	cmd := &cobra.Command{
		Use:   "base",
		Short: "Namespace, CRDs, settings, roles and, per namespace of nodes, their ServiceAccount",
		Long: "Print (the default) or apply what every driver of seictl needs: the namespace sei-system, the CRDs, the\n" +
			"settings, the ServiceAccount that calls sidecars, and the roles. Each --node-namespace also gets the\n" +
			"ServiceAccount of node pods and the binding that lets their proxy ask who calls. Applying again is harmless:\n" +
			"settings that exist are left alone.",
		Example: baseExample,
		Args:    factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return baseRun(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Apply, "apply", false, "apply to the cluster instead of printing")
	cmd.Flags().StringSliceVar(&o.NodeNamespaces, "node-namespace", nil, "a namespace that holds nodes; repeatable")
	cmd.Flags().StringVarP(&o.Output, "output", "o", output.YAML, "output format of what is printed: yaml")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Minute, "with --apply: give up after this long")
	return cmd
}

func baseRun(ctx context.Context, o *BaseOptions) error {
	if o.Output != output.YAML {
		return fmt.Errorf("-o: found %q, wanted yaml", o.Output)
	}
	objects, err := o.objects()
	if err != nil {
		return err
	}
	if !o.Apply {
		return o.print(objects)
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	i := &installer{cluster: c, out: o.Out}
	if err := i.namespacesExist(ctx, o.NodeNamespaces); err != nil {
		return err
	}
	// Refuse before anything is written.
	for _, obj := range objects {
		if err := i.mayReplace(ctx, obj); err != nil {
			return err
		}
	}
	for _, obj := range objects {
		if err := i.apply(ctx, obj); err != nil {
			return err
		}
	}
	return i.established(ctx, objects)
}

// objects are what is installed, in an order that can be applied.
func (o *BaseOptions) objects() ([]*unstructured.Unstructured, error) {
	objects, err := config.Base()
	if err != nil {
		return nil, err
	}
	for _, ns := range o.NodeNamespaces {
		more, err := config.NodeNamespace(ns)
		if err != nil {
			return nil, fmt.Errorf("--node-namespace: %w", err)
		}
		objects = append(objects, more...)
	}
	return objects, nil
}

func (o *BaseOptions) print(objects []*unstructured.Unstructured) error {
	documents := make([]string, 0, len(objects))
	for _, obj := range objects {
		data, err := yaml.Marshal(obj.Object)
		if err != nil {
			return fmt.Errorf("encoding %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		documents = append(documents, string(data))
	}
	if _, err := fmt.Fprint(o.Out, strings.Join(documents, "---\n")); err != nil {
		return fmt.Errorf("writing the manifests: %w", err)
	}
	return nil
}
