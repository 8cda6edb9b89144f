package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/plan"
)

// StatusOptions of `seictl fleet status` and `history`.
type StatusOptions struct {
	*factory.Factory
	Name, Chain string
	Output      output.Format
	Watch       bool
	Timeout     time.Duration
}

// NewCmdStatus returns `seictl fleet status`.
func NewCmdStatus(f *factory.Factory, runF func(context.Context, *StatusOptions) error) *cobra.Command {
	o := &StatusOptions{Factory: f, Output: output.NewFormat(output.JSON, output.YAML)}
	cmd := &cobra.Command{
		Use:   "status [NAME | --chain CHAIN]",
		Short: "Show how far a rollout is, and what TLS the nodes of its chain run",
		Long: "Show how far a rollout is: from its record, brought up to date with what is observed. With -w it is followed, from any\n" +
			"machine, until it comes to rest.",
		Example: "  seictl fleet status --chain pacific-1 -w",
		Args:    atMostOneRollout,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Name = args[0]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return statusRun(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Chain, "chain", "", "the latest rollout of a chain")
	cmd.Flags().BoolVarP(&o.Watch, "watch", "w", false, "follow the rollout until it comes to rest; ends with its exit code")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 0, "with -w: give up after this long; 0 means never")
	o.Output.AddFlag(cmd.Flags())
	return cmd
}

// statusDocument is the document of `seictl fleet status -o json`.
type statusDocument struct {
	// Rollout is the record, brought up to date; null when the chain has none.
	Rollout *fleet.Record `json:"rollout"`
	// Counts of its nodes by outcome, and Causes of failures.
	Counts map[fleet.Outcome]int `json:"counts"`
	Causes []fleet.Cause         `json:"causes"`
	// TLS that the nodes of the chain run: how many by source.
	TLS map[string]int `json:"tls"`
}

func statusRun(ctx context.Context, o *StatusOptions) error {
	ctx, cancel := factory.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, output: &o.Output}
	var e *entry
	if o.Name != "" || o.Chain == "" {
		if e, err = s.store.find(ctx, o.Name, o.Chain, nil, ""); err != nil {
			return err
		}
		o.Chain = e.record.Chain
	} else {
		all, err := s.store.list(ctx, o.Chain)
		if err != nil {
			return err
		}
		if len(all) > 0 {
			e = all[0]
		}
	}
	if e != nil && o.Watch {
		if e, err = s.watch(ctx, e); err != nil {
			return err
		}
	}
	seen, err := o.observed(ctx, c, e)
	if err != nil {
		return err
	}
	doc := statusDocument{Counts: map[fleet.Outcome]int{}, Causes: []fleet.Cause{}, TLS: tlsOf(seen.nodes, o.Chain)}
	if e != nil {
		if err := s.alive(ctx, e.record); err != nil {
			return err
		}
		fleet.Refresh(e.record, viewOf(seen, o.Now()))
		doc = statusOf(e.record, seen)
	}
	if o.Output.Machine() {
		if err := o.Output.Write(o.Out, doc); err != nil {
			return err
		}
	} else {
		statusText(o.Printer(), o.Chain, &doc, o.Now())
	}
	if e != nil && o.Watch {
		code, _ := s.outcome(e.record)
		return exit.Silent(code)
	}
	return nil
}

// observed is what can be seen of the rollout, and without one of the chain.
func (o *StatusOptions) observed(ctx context.Context, c *factory.Cluster, e *entry) (*observed, error) {
	if e == nil {
		return gather(ctx, o.Factory, c, o.Chain)
	}
	return gatherFor(ctx, o.Factory, c, e.record)
}

// statusOf is the document of a record that is up to date.
func statusOf(r *fleet.Record, seen *observed) statusDocument {
	return statusDocument{Rollout: r, Counts: r.Count(), Causes: append([]fleet.Cause{}, r.Causes()...), TLS: tlsOf(seen.nodes, r.Chain)}
}

func viewOf(o *observed, now time.Time) fleet.View {
	v := fleet.View{Nodes: map[types.NamespacedName]*v1alpha1.SeiNode{}, Deployments: map[types.NamespacedName]*v1alpha1.SeiNodeDeployment{}, Now: now}
	for _, n := range o.nodes {
		v.Nodes[kube.ObjectKeyFromObject(n)] = n
	}
	for _, d := range o.deployments {
		v.Deployments[kube.ObjectKeyFromObject(d)] = d
	}
	return v
}

// tlsOf counts the nodes of a chain by the TLS that they run.
func tlsOf(nodes []*v1alpha1.SeiNode, chain string) map[string]int {
	out := map[string]int{}
	for _, n := range nodes {
		if n.Spec.ChainID == chain {
			out[plan.TLSText(n.Status.CurrentSidecarTLS.Config())]++
		}
	}
	return out
}

func statusText(p *ui.Printer, chain string, doc *statusDocument, now time.Time) {
	if doc.Rollout == nil {
		p.Line("%s  no rollout yet", p.Bold(chain))
	} else {
		recordText(p, doc.Rollout, now)
	}
	sources := make([]string, 0, len(doc.TLS))
	for s := range doc.TLS {
		sources = append(sources, s)
	}
	slices.Sort(sources)
	for i, s := range sources {
		sources[i] = fmt.Sprintf("%d %s", doc.TLS[s], s)
	}
	p.Line("  nodes of the chain by TLS: %s", few(sources))
}

// recordText tells of a rollout: state, waves, failures by cause, what is under way and what is left alone.
func recordText(p *ui.Printer, r *fleet.Record, now time.Time) {
	state := stateText(r)
	switch r.State {
	case fleet.Complete:
		state = p.Good(state)
	case fleet.Failed, fleet.Aborted:
		state = p.Bad(state)
	case fleet.Paused:
		state = p.Warn(state)
	}
	p.Line("%s  %s  %s", p.Bold(r.Name), r.Action, state)
	what := "TLS off"
	if len(r.Objects) > 0 && r.Objects[0].Target != nil {
		what = "TLS from " + r.Objects[0].Target.String()
	}
	if r.Undoes != "" {
		what = "each node back to what it was before " + r.Undoes
	}
	p.Line("  %s; started %s ago by %s", what, age(now, r.StartedAt), r.Who)
	if r.Driver != "" {
		p.Line("  driven by %s", r.Driver)
	}
	rows := [][]string{}
	for w := range r.Waves() {
		counts, nodes := map[fleet.Outcome]int{}, []string{}
		for i := range r.Nodes {
			if n := &r.Nodes[i]; n.Wave == w {
				counts[n.Outcome]++
				nodes = append(nodes, n.Namespace+"/"+n.Name)
			}
		}
		rows = append(rows, []string{r.WaveName(w), countsText(counts), few(nodes)})
	}
	p.Table("  ", []string{"WAVE", "STATE", "NODES"}, shortWaves(rows))
	for _, c := range r.Causes() {
		p.Wrap("  "+p.Bad("failed")+": ", few(c.Nodes)+": "+c.Text)
	}
	shown := 0
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Outcome != fleet.Started && n.Outcome != fleet.Verifying && n.Outcome != fleet.Skipped {
			continue
		}
		if shown++; shown <= mostLines {
			p.Wrap(fmt.Sprintf("  %s: ", n.Outcome), fmt.Sprintf("%s/%s: %s", n.Namespace, n.Name, n.Detail))
		}
	}
	if shown > mostLines {
		p.Line("  and %d more: see -o json", shown-mostLines)
	}
	byReason := map[string][]string{}
	var reasons []string
	for _, l := range r.Left {
		key := string(l.Need) + ": " + l.Reason
		if byReason[key] == nil {
			reasons = append(reasons, key)
		}
		byReason[key] = append(byReason[key], l.Namespace+"/"+l.Name)
	}
	for _, key := range reasons {
		p.Wrap("  left alone: ", few(byReason[key])+": "+key)
	}
	p.Line("  %s: %s", count(len(r.Nodes), "node"), countsText(r.Count()))
}

// shortWaves leaves out waves in the middle when there are many.
func shortWaves(rows [][]string) [][]string {
	if len(rows) <= 2*mostWaves {
		return rows
	}
	out := append([][]string{}, rows[:mostWaves]...)
	out = append(out, []string{"…", fmt.Sprintf("%d more waves", len(rows)-2*mostWaves), ""})
	return append(out, rows[len(rows)-mostWaves:]...)
}

// NewCmdHistory returns `seictl fleet history`.
func NewCmdHistory(f *factory.Factory, runF func(context.Context, *StatusOptions) error) *cobra.Command {
	o := &StatusOptions{Factory: f, Output: output.NewFormat(output.JSON, output.YAML, output.Name)}
	cmd := &cobra.Command{
		Use:     "history [--chain CHAIN]",
		Short:   "List the rollouts that were, the latest first",
		Example: "  seictl fleet history --chain pacific-1",
		Args:    factory.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return historyRun(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Chain, "chain", "", "only the rollouts of a chain")
	o.Output.AddFlag(cmd.Flags())
	return cmd
}

func historyRun(ctx context.Context, o *StatusOptions) error {
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	s := &session{Factory: o.Factory, cluster: c, store: &store{cluster: c}, output: &o.Output}
	all, err := s.store.list(ctx, o.Chain)
	if err != nil {
		return err
	}
	for _, err := range s.store.unreadable {
		o.Notices().Wrap("warning: ", err.Error())
	}
	records := make([]*fleet.Record, 0, len(all))
	rows := [][]string{}
	for _, e := range all {
		r := e.record
		if err := s.alive(ctx, r); err != nil {
			return err
		}
		records = append(records, r)
		counts := r.Count()
		state := string(r.State)
		if r.State == fleet.Running && r.Driver == "" {
			state = "unfinished"
		}
		rows = append(rows, []string{r.Name, r.Chain, r.Action, state, fmt.Sprintf("%d/%d", counts[fleet.Done], len(r.Nodes)),
			fmt.Sprint(counts[fleet.NodeFailed]), age(o.Now(), r.StartedAt), r.Digest[:min(12, len(r.Digest))], r.Who})
	}
	switch {
	case o.Output.Machine():
		return o.Output.Write(o.Out, map[string]any{"items": records})
	case o.Output.String() == output.Name:
		for _, r := range records {
			fmt.Fprintln(o.Out, r.Name)
		}
		return nil
	case len(rows) == 0:
		fmt.Fprintln(o.ErrOut, "no rollouts yet; next: seictl fleet plan --chain CHAIN")
		return nil
	}
	o.Printer().Table("", []string{"NAME", "CHAIN", "ACTION", "STATE", "DONE", "FAILED", "AGE", "DIGEST", "WHO"}, rows)
	return nil
}
