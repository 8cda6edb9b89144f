package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
)

// Health is one component's state.
type Health struct {
	Name    string `json:"name"`
	PID     int    `json:"pid,omitempty"`
	Healthy bool   `json:"healthy"`
	Message string `json:"message,omitempty"`
	Log     string `json:"log"`
}

// Report is what `lab status` prints.
type Report struct {
	Up         bool     `json:"up"` // every component is healthy
	Dir        string   `json:"dir"`
	Kubeconfig string   `json:"kubeconfig"`
	FaultsURL  string   `json:"faultsURL"`
	AuditLog   string   `json:"auditLog"`
	Components []Health `json:"components"`
}

// Status asks every component and prints the answers. It fails unless all of
// the lab is up.
func Status(ctx context.Context, e *Env, asJSON bool, out io.Writer) error {
	report := Report{
		Up: true, Dir: e.Dir, Kubeconfig: e.Kubeconfig(), AuditLog: e.path("audit.log"),
		FaultsURL: fmt.Sprintf("http://127.0.0.1:%d", e.ports.faults),
	}
	list := e.components()
	report.Components = make([]Health, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		all.Go(func() {
			h := Health{Name: c.name, Log: e.path("logs", c.name+".log")}
			if r, ok := e.running(c.name); !ok {
				h.Message = "not running"
			} else if h.PID = r.PID; true {
				if err := c.healthy(ctx, e); err != nil {
					h.Message = err.Error()
				} else {
					h.Healthy = true
				}
			}
			report.Components[i] = h
		})
	}
	all.Wait()
	for _, h := range report.Components {
		report.Up = report.Up && h.Healthy
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report); err != nil {
			return fmt.Errorf("printing the status: %w", err)
		}
	} else {
		w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
		_, _ = fmt.Fprintln(w, "COMPONENT\tPID\tHEALTH") // errors show at Flush
		for _, h := range report.Components {
			pid, health := "-", "ok"
			if h.PID > 0 {
				pid = fmt.Sprint(h.PID)
			}
			if !h.Healthy {
				health = h.Message
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", h.Name, pid, health)
		}
		_, _ = fmt.Fprintf(w, "\nkubeconfig\t%s\t\n", report.Kubeconfig)
		if err := w.Flush(); err != nil {
			return fmt.Errorf("printing the status: %w", err)
		}
	}
	if !report.Up {
		return errDown
	}
	return nil
}
