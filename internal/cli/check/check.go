// Package check holds `seictl check`.
package check

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/preflight"
)

// short is the format that tells only what is wrong, a line each.
const short = "short"

// Options of `seictl check`.
type Options struct {
	*factory.Factory
	Output output.Format
	// Pre checks what must hold before an installation.
	Pre bool
	// Wait is how long to wait until nothing fails; zero checks once.
	Wait time.Duration
}

const example = `  # Is everything in place, and is every node well?
  seictl check

  # Can seictl be installed here?
  seictl check --pre

  # In a pipeline: wait until all is well, tell only what is not
  seictl check --wait 2m -o short`

// NewCmdCheck returns `seictl check`.
func NewCmdCheck(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, Output: output.NewFormat(output.JSON, short)}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the cluster, cert-manager, what is installed, and every node",
		Long: "Check what seictl needs and how the nodes are, category by category. Nothing is changed. What fails has a hint:\n" +
			"the next command. The exit code is 1 when a check failed; warnings do not count.",
		Example: example,
		Args:    factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return run(cmd.Context(), o)
		},
	}
	o.Output.AddFlag(cmd.Flags())
	cmd.Flags().BoolVar(&o.Pre, "pre", false, "check what must hold before seictl is installed")
	cmd.Flags().DurationVar(&o.Wait, "wait", 0, "wait this long until no check fails")
	return cmd
}

// document is `seictl check -o json`.
type document struct {
	// Success says that no check failed.
	Success bool `json:"success"`
	// Checks in the order in which they are told.
	Checks []preflight.Line `json:"checks"`
}

func run(ctx context.Context, o *Options) error {
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	if _, err := c.Kube.Discovery().ServerVersion(); err != nil {
		// Nothing else could be told.
		return c.Explain(err, "ask", "the API server", "", "")
	}
	lines := o.until(ctx, func() []preflight.Line {
		facts := &preflight.Collector{Client: c.Client, Kube: c.Kube, Now: o.Now}
		return preflight.CheckCluster(facts.Cluster(ctx, o.Pre))
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	bad := preflight.AnyFailed(lines)
	if o.Output.Machine() {
		err = o.Output.Write(o.Out, document{Success: !bad, Checks: lines})
	} else {
		o.text(o.Printer(), lines)
	}
	if err == nil && bad {
		err = exit.Silent(exit.Failure)
	}
	return err
}

// again is how long to wait between two looks: there is no one thing to watch.
const again = 2 * time.Second

// until looks until nothing fails, or the time to wait is over.
func (o *Options) until(ctx context.Context, look func() []preflight.Line) []preflight.Line {
	deadline := o.Now().Add(o.Wait)
	for {
		lines := look()
		left := deadline.Sub(o.Now())
		if !preflight.AnyFailed(lines) || left <= 0 {
			return lines
		}
		select {
		case <-ctx.Done():
			return lines
		case <-time.After(min(again, left)):
		}
	}
}

func (o *Options) text(p *ui.Printer, lines []preflight.Line) {
	if o.Output.String() == short {
		for i := range lines {
			if l := lines[i]; l.Result == preflight.Failed || l.Result == preflight.Warning {
				preview.LineText(p, "", &l)
			}
		}
		return
	}
	category := ""
	for i := range lines {
		l := &lines[i]
		if l.Category != category {
			if category != "" {
				p.Line("")
			}
			category = l.Category
			p.Line("%s", p.Bold(category))
		}
		preview.LineText(p, "  ", l)
	}
	p.Line("")
	p.Line("%s", verdict(p, lines))
}

// verdict sums up.
func verdict(p *ui.Printer, lines []preflight.Line) string {
	failed, warnings := preflight.Count(lines, preflight.Failed), preflight.Count(lines, preflight.Warning)
	switch {
	case failed > 0:
		return fmt.Sprintf("%s: %d failed, %s", p.Bad(preflight.Failed.Symbol()+" not well"), failed, count(warnings))
	case warnings > 0:
		return fmt.Sprintf("%s, with %s", p.Good(preflight.OK.Symbol()+" all is well"), count(warnings))
	}
	return p.Good(preflight.OK.Symbol() + " all is well")
}

func count(warnings int) string {
	if warnings == 1 {
		return "1 warning"
	}
	return fmt.Sprintf("%d warnings", warnings)
}
