package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/settings"
)

// StatusOptions of `seictl node status`.
type StatusOptions struct {
	*factory.Factory
	Selection Selection
	Output    output.Format
	Watch     bool
	Timeout   time.Duration
}

// NewCmdStatus returns `seictl node status`.
func NewCmdStatus(f *factory.Factory, runF func(context.Context, *StatusOptions) error) *cobra.Command {
	o := &StatusOptions{Factory: f, Output: output.NewFormat(output.JSON, output.YAML, output.Name)}
	cmd := &cobra.Command{
		Use:     "status [NAME... | -l SELECTOR | --chain CHAIN]",
		Aliases: []string{"get", "list"},
		Short:   "Show what nodes run, serve and wait for",
		Long: "Show what nodes run, the TLS that was observed serving, the plan under way, and why a node is held. With -w it\n" +
			"follows them until every one is settled, failed or paused, and ends with 0, 4 or 3.",
		Example: "  seictl node status -n fleet\n  seictl node status ax-0 -n fleet -w",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Selection.Names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return statusRun(cmd.Context(), o)
		},
	}
	o.Selection.AddFlags(cmd.Flags(), false)
	o.Output.AddFlag(cmd.Flags())
	cmd.Flags().BoolVarP(&o.Watch, "watch", "w", false, "follow the nodes until they are settled")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 0, "with -w: give up after this long; 0 means never")
	return cmd
}

func statusRun(ctx context.Context, o *StatusOptions) error {
	if err := o.Selection.Validate(true); err != nil {
		return err
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Timeout)
	defer cancel()
	r := &resolver{f: o.Factory, selection: o.Selection}
	targets, err := r.resolve(ctx)
	if err != nil {
		return err
	}
	nodes := make([]*v1alpha1.SeiNode, len(targets))
	for i := range targets {
		nodes[i] = targets[i].node
	}
	var ended error
	gone := map[types.NamespacedName]bool{}
	if o.Watch {
		if ended, err = o.follow(ctx, nodes, gone); err != nil {
			return err
		}
	}
	documents := make([]Document, 0, len(nodes))
	code := exit.OK
	for _, n := range nodes {
		d := statusDocument(n, o.Now())
		if gone[client.ObjectKeyFromObject(n)] {
			d.State, d.Detail = string(drive.Failed), "the node was deleted"
		}
		code = worse(code, drive.State(d.State).Code())
		documents = append(documents, d)
	}
	if err := o.write(documents); err != nil {
		return err
	}
	switch {
	case ended != nil:
		return exit.Errorf(exit.Code(ended), "%w: the nodes go on without this command; next: seictl node status -w", ended)
	case o.Watch:
		return exit.Silent(code)
	}
	return nil
}

// statusDocument says of a node what its own object tells.
func statusDocument(n *v1alpha1.SeiNode, now time.Time) Document {
	in := preview.Input{Node: n, Settings: settings.Default(), Now: now}
	g := drive.Goal{Key: client.ObjectKeyFromObject(n), Since: n.CreationTimestamp.Time}
	item := preview.Build(in)
	d := document(&drive.Result{Key: g.Key, Node: n, Verdict: g.Judge(n, drive.Outcome(n, in))})
	d.Drift, d.Warnings = item.Drift, item.Warnings
	return d
}

// follow updates nodes in place until each is settled or gone. ended is why ctx ended before that.
func (o *StatusOptions) follow(ctx context.Context, nodes []*v1alpha1.SeiNode, gone map[types.NamespacedName]bool) (ended, err error) {
	c, err := o.Cluster()
	if err != nil {
		return nil, err
	}
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	progress := o.progress()
	defer progress.Close()
	var mu sync.Mutex
	namespaces := map[string]bool{}
	for _, n := range nodes {
		namespaces[n.Namespace] = true
	}
	seen := func(key types.NamespacedName, node *v1alpha1.SeiNode) {
		mu.Lock()
		defer mu.Unlock()
		working := false
		for i, n := range nodes {
			at := client.ObjectKeyFromObject(n)
			if at == key {
				gone[key] = node == nil
			}
			if at == key && node != nil {
				nodes[i] = node
				progress.Node(key, node, "")
			}
			working = working || !gone[at] && statusDocument(nodes[i], o.Now()).State == string(drive.Working)
		}
		if !working {
			stop()
		}
	}
	errs := make(chan error, len(namespaces))
	for ns := range namespaces {
		f := &drive.Follower{Cluster: c, Namespace: ns, Seen: seen, Trouble: func(err error) {
			progress.Say("the cluster does not answer (%s): waiting for it", err)
		}}
		for _, n := range nodes {
			if n.Namespace == ns {
				f.Known = append(f.Known, client.ObjectKeyFromObject(n))
			}
		}
		go func() { errs <- f.Run(watchCtx) }()
	}
	for range namespaces {
		if e := <-errs; e != nil && err == nil {
			err = e
			stop()
		}
	}
	return context.Cause(ctx), err
}

func (o *StatusOptions) progress() *drive.Progress {
	var live *ui.Live
	if o.Terminal.Err {
		live = ui.NewLive(o.ErrOut, o.Terminal.Width)
	}
	return drive.NewProgress(o.Notices(), live, o.Now)
}

func (o *StatusOptions) write(documents []Document) error {
	switch {
	case o.Output.Machine():
		return o.Output.Write(o.Out, documentList{Items: documents})
	case o.Output.String() == output.Name:
		for i := range documents {
			fmt.Fprintln(o.Out, output.NodeName(documents[i].Node.Name))
		}
		return nil
	case len(documents) == 0:
		fmt.Fprintln(o.ErrOut, "no SeiNodes found; next: seictl node status -A, or create one: seictl node apply -f FILE")
		return nil
	}
	p := o.Printer()
	if len(o.Selection.Names) == 0 {
		statusTable(p, documents, o.Selection.AllNamespaces)
		return nil
	}
	for i := range documents {
		if i > 0 {
			p.Line("")
		}
		documents[i].text(p)
	}
	return nil
}
