package node

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/ui"
)

// VerifyOptions of `seictl node verify`.
type VerifyOptions struct {
	*factory.Factory
	Selection Selection
	Output    output.Format
	Timeout   time.Duration
	// InCluster dials pods by their addresses; false is port-forward.
	InCluster bool
}

// NewCmdVerify returns `seictl node verify`.
func NewCmdVerify(f *factory.Factory, runF func(context.Context, *VerifyOptions) error) *cobra.Command {
	o := &VerifyOptions{Factory: f, Output: output.NewFormat(output.JSON, output.YAML), InCluster: inCluster()}
	cmd := &cobra.Command{
		Use:   "verify (NAME... | -l SELECTOR | --chain CHAIN)",
		Short: "Prove what the sidecar of a node serves, by a handshake and an authenticated call",
		Long: "Do a TLS handshake with the node's pod, compare the certificate served with the one in its Secret, and make an\n" +
			"authenticated call. The exit code is 0 only if all of it holds, and 4 otherwise.",
		Example: "  seictl node verify ax-0 -n fleet",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Selection.Names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return verifyRun(cmd.Context(), o)
		},
	}
	o.Selection.AddFlags(cmd.Flags(), false)
	o.Output.AddFlag(cmd.Flags())
	cmd.Flags().DurationVar(&o.Timeout, "timeout", time.Minute, "give up after this long")
	cmd.Flags().BoolVar(&o.InCluster, "in-cluster", o.InCluster, "dial pods by their addresses instead of by port-forward")
	return cmd
}

func verifyRun(ctx context.Context, o *VerifyOptions) error {
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
	v := &verifier{cluster: c, settings: s, sidecars: connector, now: o.Now}
	reports := make([]Verification, 0, len(targets))
	code := exit.OK
	for i := range targets {
		report, err := v.verify(ctx, targets[i].node)
		if err != nil {
			return err
		}
		if !report.Verified {
			code = exit.Failed
		}
		reports = append(reports, report)
	}
	if o.Output.Machine() {
		if err := o.Output.Write(o.Out, verificationList{Items: reports}); err != nil {
			return err
		}
		return exit.Silent(code)
	}
	p := o.Printer()
	for i := range reports {
		if i > 0 {
			p.Line("")
		}
		reports[i].text(p)
	}
	return exit.Silent(code)
}

type verificationList struct {
	Items []Verification `json:"items"`
}

func (v *Verification) text(p *ui.Printer) {
	head := p.Good("verified")
	if !v.Verified {
		head = p.Bad("not verified")
	}
	p.Line("%s  %s", p.Bold(v.Node.Namespace+"/"+v.Node.Name), head)
	rows := [][]string{}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	tls := v.Source
	if tls == "" {
		tls = "off: the sidecar speaks plain HTTP"
	}
	add("TLS", tls)
	if l := v.Leaf; l != nil {
		add("issuer", l.Issuer)
		for i, name := range l.DNSNames {
			label := "names"
			if i > 0 {
				label = " "
			}
			add(label, name)
		}
		add("valid", l.NotBefore.UTC().Format(time.RFC3339)+" to "+l.NotAfter.UTC().Format(time.RFC3339))
	}
	add("served", v.ServedSHA256)
	add("in Secret", v.SecretSHA256)
	p.Table("  ", nil, rows)
	checks := [][]string{}
	for _, c := range v.Checks {
		mark := p.Good("ok")
		if !c.OK {
			mark = p.Bad("FAIL")
		}
		checks = append(checks, []string{mark, c.Name, c.Detail})
	}
	p.Table("  ", nil, checks)
	for _, w := range v.Warnings {
		p.Wrap("  "+p.Warn("warning")+": ", w)
	}
	if !v.Verified {
		p.Wrap("  next: ", fmt.Sprintf("seictl node status %s -n %s", v.Node.Name, v.Node.Namespace))
	}
}
