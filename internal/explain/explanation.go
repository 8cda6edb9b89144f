package explain

import (
	"fmt"
	"time"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
)

// Explanation of a node. No field is ever left out of its JSON.
type Explanation struct {
	// Runs is what was observed running, and Wants what it should run.
	Runs  string `json:"runs"`
	Wants string `json:"wants"`
	// Doing is the plan under way and its task; empty when there is none.
	Doing string `json:"doing"`
	// Driver is who drives.
	Driver string `json:"driver"`
	// Cause is what decides; null when the node runs what it should.
	Cause *Cause `json:"cause"`
	// Links are the objects that the node hangs on, in order.
	Links []Link `json:"links"`
	// Notes are what else one should know.
	Notes []string `json:"notes"`
	// Next are the commands to go on with, the likeliest first.
	Next []string `json:"next"`
}

// Cause is the one thing that decides.
type Cause struct {
	Code Code `json:"code"`
	// Object that it is about, as "Kind namespace/name".
	Object string `json:"object"`
	// Message in plain words, with the object's own.
	Message string `json:"message"`
	// Since when; null when nobody knows.
	Since *time.Time `json:"since"`
	// RetryAt is when it is tried again by itself, and GivesUpAt when the task at work fails; null when neither.
	RetryAt   *time.Time `json:"retryAt"`
	GivesUpAt *time.Time `json:"givesUpAt"`

	next []string
}

// State of a link.
type State string

// States of a link.
const (
	// OK: as it should be.
	OK State = "ok"
	// Waits: it is on its way, or waits for another link.
	Waits State = "waits"
	// Broken: it does not come right by itself.
	Broken State = "broken"
	// Unknown: it was not read.
	Unknown State = "unknown"
)

// Link is one object that the node hangs on.
type Link struct {
	Object string `json:"object"`
	State  State  `json:"state"`
	Detail string `json:"detail"`

	cause *Cause
}

// Explain explains.
func Explain(f *Facts) Explanation {
	e := Explanation{
		Runs: f.runs(), Wants: f.wants(), Doing: f.doing(), Driver: f.driver(),
		Links: []Link{}, Notes: append([]string{}, f.Report.Warnings...), Next: []string{},
	}
	for _, link := range f.links() {
		e.Links = append(e.Links, *link)
	}
	for i := range f.Report.Findings {
		if d := &f.Report.Findings[i]; d.Subject == drift.SubjectPodTemplate || d.Subject == drift.SubjectConfig {
			e.Notes = append(e.Notes, fmt.Sprintf("%s: %s", d.Subject, d.Why))
		}
	}
	if e.Cause = f.decide(); e.Cause == nil {
		return e
	}
	f.complete(e.Cause)
	e.Next = append(e.Next, e.Cause.next...)
	return e
}

// complete fills in since and until when, where the cause does not know better.
func (f *Facts) complete(c *Cause) {
	t, _ := f.task()
	if t != nil && t.Status == v1alpha1.TaskRunning {
		if c.Since == nil && t.StartedAt != nil {
			c.Since = &t.StartedAt.Time
		}
		if t.Deadline != nil {
			c.GivesUpAt = &t.Deadline.Time
		}
	}
	if c.RetryAt == nil && !f.Node.Status.Plan.Active() && c.Code != CodeHeld {
		switch p := f.Node.Status.Plan; {
		case f.Decision.RetryAt != nil:
			c.RetryAt = f.Decision.RetryAt
		case p != nil && p.RetryAt != nil:
			c.RetryAt = &p.RetryAt.Time
		}
	}
}

func (f *Facts) runs() string {
	st := &f.Node.Status
	text := "nothing yet"
	if st.CurrentImage != "" {
		text = fmt.Sprintf("image %s, TLS %s", st.CurrentImage, plan.TLSText(st.CurrentSidecarTLS.Config()))
		if tls := st.CurrentSidecarTLS; tls != nil && tls.NotAfter != nil {
			text += ", its certificate valid until " + stamp(tls.NotAfter.Time)
		}
	}
	switch pod := f.Snapshot.Pod; {
	case pod == nil:
		return text + "; there is no pod"
	case pod.DeletionTimestamp != nil:
		return text + "; pod " + pod.Name + " is Terminating"
	case f.Snapshot.PodReady():
		return text + "; pod " + pod.Name + " is Ready"
	}
	return text + "; pod " + f.Snapshot.Pod.Name + " is not Ready"
}

func (f *Facts) wants() string {
	t := f.Report.Target
	text := fmt.Sprintf("image %s, TLS %s", t.Image, plan.TLSText(t.SidecarTLS))
	if wanted, allowed := drift.TLSRemoval(f.Node); wanted && !allowed {
		text += " (kept: its removal was not consented to)"
	}
	return text
}

func (f *Facts) doing() string {
	p := f.Node.Status.Plan
	t, i := f.task()
	if t == nil {
		return ""
	}
	text := fmt.Sprintf("%s, task %d of %d: %s (%s)", p.Kind, i+1, len(p.Tasks), t.Type, t.Why)
	if t.StartedAt != nil {
		text += ", since " + stamp(t.StartedAt.Time)
	}
	return text
}

func (f *Facts) driver() string {
	d := &f.Driver
	switch {
	case !d.Known:
		return "not known: the Lease could not be read"
	case d.Holder == "":
		return "nobody"
	case d.Since == nil:
		return d.Holder
	}
	return d.Holder + ", since " + stamp(*d.Since)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// on is " NAME -n NAMESPACE", for commands.
func (f *Facts) on() string { return f.Node.Name + " -n " + f.Node.Namespace }
