package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/plan"
)

// DriveFlags say how to drive.
type DriveFlags struct {
	// Timeout of the whole command; zero is none.
	Timeout time.Duration
	// LockTimeout is how long to wait for another driver.
	LockTimeout time.Duration
	// Drive drives although an operator is installed.
	Drive bool
}

// AddFlags adds the flags.
func (d *DriveFlags) AddFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&d.Timeout, "timeout", 0, "give up after this long, such as 30m; 0 means never (each task has a deadline of its own)")
	fs.DurationVar(&d.LockTimeout, "lock-timeout", 0, "wait this long for another driver to finish")
	fs.BoolVar(&d.Drive, "drive", false, "drive although an operator is installed; never beside one that runs")
}

// session is what commands that drive share.
type session struct {
	*factory.Factory
	cluster *factory.Cluster
	flags   *DriveFlags
	output  *output.Format
}

func (s *session) driver(ctx context.Context, r *resolver) (*drive.Driver, error) {
	platform, err := r.Settings(ctx, true)
	if err != nil {
		return nil, err
	}
	var live *ui.Live
	if s.Terminal.Err {
		live = ui.NewLive(s.ErrOut, s.Terminal.Width)
	}
	return &drive.Driver{
		Cluster: s.cluster, Settings: platform, Now: s.Now, LockTimeout: s.flags.LockTimeout,
		IgnoreDeployment: s.flags.Drive, PortForward: !inCluster(),
		Progress: drive.NewProgress(s.Notices(), live, s.Now),
	}, nil
}

// acquire decides who drives and tells.
func (s *session) acquire(ctx context.Context, d *drive.Driver) error {
	mode, err := d.Acquire(ctx)
	if err != nil {
		return err
	}
	if mode.Watch {
		d.Progress.Say("%s", mode.Why)
	}
	if mode.NoOperator {
		s.warn("no operator is installed: a pod that is rescheduled later waits for somebody's 'seictl node apply'; " +
			"production needs 'seictl operator run'")
	}
	return nil
}

func (s *session) release(ctx context.Context, d *drive.Driver) {
	if err := d.Release(ctx); err != nil {
		s.warn(err.Error())
	}
}

func (s *session) warn(text string) {
	p := s.Notices()
	p.Wrap(p.Warn("warning")+": ", text)
}

// finish writes the results and turns them into an exit code. ended is why the driving ended early.
func (s *session) finish(results []drive.Result, ended error) error {
	documents := make([]Document, 0, len(results))
	code := exit.OK
	for i := range results {
		documents = append(documents, document(&results[i]))
		code = worse(code, results[i].State.Code())
	}
	if err := s.write(documents); err != nil {
		return err
	}
	if ended != nil {
		return s.resumable(results, ended)
	}
	return exit.Silent(code)
}

// worse prefers a failure over a pause over success.
func worse(a, b int) int {
	for _, code := range []int{exit.Failed, exit.Paused} {
		if a == code || b == code {
			return code
		}
	}
	return exit.OK
}

func (s *session) write(documents []Document) error {
	switch {
	case s.output.Machine():
		return s.output.Write(s.Out, documentList{Items: documents})
	case s.output.String() == output.Name:
		for i := range documents {
			fmt.Fprintln(s.Out, output.NodeName(documents[i].Node.Name))
		}
		return nil
	}
	p := s.Printer()
	for i := range documents {
		documents[i].result(p)
	}
	return nil
}

// resumable says how far it came and how to go on.
func (s *session) resumable(results []drive.Result, ended error) error {
	code := exit.Code(ended)
	if code != exit.Interrupted && code != exit.TimedOut {
		return ended
	}
	byNamespace := map[string][]string{}
	var order, where []string
	for _, r := range results {
		if r.State != drive.Working {
			continue
		}
		if _, ok := byNamespace[r.Key.Namespace]; !ok {
			order = append(order, r.Key.Namespace)
		}
		byNamespace[r.Key.Namespace] = append(byNamespace[r.Key.Namespace], r.Key.Name)
		if at := position(&r); at != "" {
			where = append(where, at)
		}
	}
	var commands []string
	for _, ns := range order {
		commands = append(commands, fmt.Sprintf("seictl node apply %s -n %s%s", strings.Join(byNamespace[ns], " "), ns, s.contextFlags()))
	}
	text := "interrupted"
	if code == exit.TimedOut {
		text = fmt.Sprintf("timed out after %s", s.flags.Timeout)
	}
	if len(where) > 0 {
		text += " (" + strings.Join(where, ", ") + ")"
	}
	return exit.With(code, errors.New(text+"; nothing is lost, the plan resumes where it stopped; next: "+strings.Join(commands, " && ")))
}

// position is the task at which a node's plan stands.
func position(r *drive.Result) string {
	if r.Node == nil || !r.Node.Status.Plan.Active() {
		return ""
	}
	p := r.Node.Status.Plan
	i := plan.Current(p)
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("%s at task %d/%d %s", r.Key, i+1, len(p.Tasks), p.Tasks[i].Type)
}

// contextFlags are the flags that say which cluster, as they were given.
func (s *session) contextFlags() string {
	out := ""
	for _, f := range []struct {
		name  string
		value *string
	}{{"kubeconfig", s.Flags.KubeConfig}, {"context", s.Flags.Context}, {"cluster", s.Flags.ClusterName}} {
		if f.value != nil && *f.value != "" {
			out += fmt.Sprintf(" --%s %s", f.name, *f.value)
		}
	}
	return out
}
