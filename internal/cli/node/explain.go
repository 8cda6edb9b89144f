package node

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/explain"
)

// ExplainOptions of `seictl node explain`.
type ExplainOptions struct {
	*factory.Factory
	Selection Selection
	Output    output.Format
	Timeout   time.Duration
	// InCluster dials pods by their addresses; false is port-forward.
	InCluster bool
}

// NewCmdExplain returns `seictl node explain`.
func NewCmdExplain(f *factory.Factory, runF func(context.Context, *ExplainOptions) error) *cobra.Command {
	o := &ExplainOptions{Factory: f, Output: output.NewFormat(output.JSON, output.YAML), InCluster: inCluster()}
	cmd := &cobra.Command{
		Use:   "explain (NAME... | -l SELECTOR | --chain CHAIN)",
		Short: "Say what a node runs, what it waits for and why, and what to do next",
		Long: "Say in plain words what a node runs, what it should run, what it waits for and why, since when, when it is tried\n" +
			"again, and the next command. It follows the chain that a node hangs on: Certificate, CertificateRequest, issuer,\n" +
			"its CA Secret, Secret, pod, proxy, sidecar, seid. Nothing is changed; pods are asked what they serve.",
		Example: "  seictl node explain ax-0 -n fleet\n\n  # For a program\n  seictl node explain ax-0 -n fleet -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Selection.Names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return explainRun(cmd.Context(), o)
		},
	}
	o.Selection.AddFlags(cmd.Flags(), false)
	o.Output.AddFlag(cmd.Flags())
	cmd.Flags().DurationVar(&o.Timeout, "timeout", time.Minute, "give up after this long")
	cmd.Flags().BoolVar(&o.InCluster, "in-cluster", o.InCluster, "dial pods by their addresses instead of by port-forward")
	return cmd
}

// explained is a node as `explain` writes it with -o json.
type explained struct {
	Node preview.Node `json:"node"`
	explain.Explanation
}

type explainedList struct {
	Items []explained `json:"items"`
}

func explainRun(ctx context.Context, o *ExplainOptions) error {
	if err := o.Selection.Validate(false); err != nil {
		return err
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Timeout)
	defer cancel()
	r := &resolver{f: o.Factory, selection: o.Selection}
	targets, err := r.resolve(ctx)
	if err != nil {
		return err
	}
	s, err := r.Settings(ctx, true)
	if err != nil {
		return err
	}
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	connector, err := sidecars(c, o.InCluster)
	if err != nil {
		return err
	}
	g := &gatherer{cluster: c, settings: s, sidecars: connector, now: o.Now}
	list := explainedList{Items: []explained{}}
	for i := range targets {
		snapshot, err := r.observeObjects(ctx, &targets[i], s)
		if err != nil {
			return err
		}
		n := targets[i].node
		facts, err := g.gather(ctx, n, snapshot)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, explained{
			Node:        preview.Node{Namespace: n.Namespace, Name: n.Name, ChainID: n.Spec.ChainID, Mode: n.Mode()},
			Explanation: explain.Explain(facts),
		})
	}
	return o.write(list)
}

func (o *ExplainOptions) write(list explainedList) error {
	if o.Output.Machine() {
		return o.Output.Write(o.Out, list)
	}
	p := o.Printer()
	for i := range list.Items {
		if i > 0 {
			p.Line("")
		}
		list.Items[i].text(p, o.Now())
	}
	return nil
}

func (e *explained) text(p *ui.Printer, now time.Time) {
	p.Line("%s  %s  %s", p.Bold(e.Node.Namespace+"/"+e.Node.Name), e.Node.ChainID, e.Node.Mode)
	rows := [][]string{{"runs", e.Runs}, {"should run", e.Wants}}
	if e.Doing != "" {
		rows = append(rows, []string{"doing", e.Doing})
	}
	if e.Doing != "" || e.Cause != nil {
		rows = append(rows, []string{"driver", e.Driver})
	}
	p.Table("  ", nil, rows)
	p.Line("")
	if c := e.Cause; c == nil {
		p.Wrap("  "+p.Good("ok")+"  ", "it runs what it should, and waits for nothing")
	} else {
		p.Wrap("  "+p.Bad(string(c.Code))+"  ", c.Object+": "+strings.TrimSuffix(c.Message, "."))
		p.Table("      ", nil, times(c, now))
	}
	e.linksText(p)
	for i, n := range e.Notes {
		if i == 0 {
			p.Line("")
		}
		p.Wrap("  "+p.Warn("note")+": ", n)
	}
	if len(e.Next) > 0 {
		p.Line("")
		for i, n := range e.Next {
			prefix := "  next: "
			if i > 0 {
				prefix = "    or: "
			}
			// A command is copied: it is never broken.
			p.Line("%s%s", prefix, n)
		}
	}
}

// linksText writes the chain, without the namespace that the head line has.
func (e *explained) linksText(p *ui.Printer) {
	if len(e.Links) == 0 {
		return
	}
	p.Line("")
	rows := make([][]string, len(e.Links))
	for i, l := range e.Links {
		rows[i] = []string{stateText(p, l.State), strings.Replace(l.Object, " "+e.Node.Namespace+"/", " ", 1), l.Detail}
	}
	p.Table("  ", nil, rows)
}

// times say since when, and what comes next by itself.
func times(c *explain.Cause, now time.Time) [][]string {
	var rows [][]string
	add := func(label string, t *time.Time) {
		if t == nil {
			return
		}
		d := now.Sub(*t)
		text := ago(d)
		rows = append(rows, []string{label, t.UTC().Format(time.RFC3339) + " (" + text + ")"})
	}
	add("since", c.Since)
	add("tried again at", c.RetryAt)
	add("gives up at", c.GivesUpAt)
	return rows
}

func ago(d time.Duration) string {
	if d < 0 {
		return "in " + (-d).Round(time.Second).String()
	}
	return d.Round(time.Second).String() + " ago"
}

func stateText(p *ui.Printer, s explain.State) string {
	switch s {
	case explain.OK:
		return p.Good(string(s))
	case explain.Broken:
		return p.Bad(string(s))
	case explain.Waits:
		return p.Warn(string(s))
	}
	return p.Dim(string(s))
}
