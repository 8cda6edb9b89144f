package node

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/pkg/plan"
)

// Document is a node as `apply`, `retry` and `status` write it with -o json. No field is ever left out.
type Document struct {
	Node preview.Node `json:"node"`
	// State is Done, Working, Failed or Paused, and Detail why.
	State  string `json:"state"`
	Detail string `json:"detail"`
	// Phase of the node.
	Phase string `json:"phase"`
	// Image that was observed running; empty when none was.
	Image string `json:"image"`
	// TLS that was observed serving; null when off.
	TLS *TLSDocument `json:"tls"`
	// Conditions by type.
	Conditions []ConditionDocument `json:"conditions"`
	// Plan under way; null when there is none.
	Plan *PlanDocument `json:"plan"`
	// LastPlan is the one that ended last; null when none did.
	LastPlan *LastPlanDocument `json:"lastPlan"`
	// Hold keeps a failed plan from starting again; null when there is none.
	Hold *HoldDocument `json:"hold"`
	// Drift found, and Warnings.
	Drift    []preview.Drift `json:"drift"`
	Warnings []string        `json:"warnings"`
}

// TLSDocument is TLS as it is served.
type TLSDocument struct {
	Source            string       `json:"source"`
	FingerprintSHA256 string       `json:"fingerprintSHA256"`
	NotAfter          *metav1.Time `json:"notAfter"`
}

// ConditionDocument is one condition.
type ConditionDocument struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// PlanDocument is a plan under way, or one that failed and is tried again.
type PlanDocument struct {
	ID      string         `json:"id"`
	Kind    string         `json:"kind"`
	Causes  []string       `json:"causes"`
	Phase   string         `json:"phase"`
	Started time.Time      `json:"startedAt"`
	Tasks   []TaskDocument `json:"tasks"`
}

// TaskDocument is one task and how far it is.
type TaskDocument struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Why     string `json:"why"`
	Message string `json:"message"`
}

// LastPlanDocument sums up a plan that ended. Durations are in seconds.
type LastPlanDocument struct {
	ID              string    `json:"id"`
	Kind            string    `json:"kind"`
	Causes          []string  `json:"causes"`
	Outcome         string    `json:"outcome"`
	FinishedAt      time.Time `json:"finishedAt"`
	DurationSeconds float64   `json:"durationSeconds"`
	PodCycleSeconds *float64  `json:"podCycleSeconds"`
	FailedTask      string    `json:"failedTask"`
	Detail          string    `json:"detail"`
}

// HoldDocument says why and since when a node is held.
type HoldDocument struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

type documentList struct {
	Items []Document `json:"items"`
}

func document(r *drive.Result) Document {
	d := Document{
		Node:  preview.Node{Namespace: r.Key.Namespace, Name: r.Key.Name},
		State: string(r.State), Detail: r.Detail,
		Conditions: []ConditionDocument{}, Drift: []preview.Drift{}, Warnings: []string{},
	}
	n := r.Node
	if n == nil {
		return d
	}
	st := &n.Status
	d.Node.ChainID, d.Node.Mode = n.Spec.ChainID, n.Mode()
	d.Phase, d.Image = string(st.Phase), st.CurrentImage
	if tls := st.CurrentSidecarTLS; tls != nil {
		d.TLS = &TLSDocument{Source: tls.Config().String(), FingerprintSHA256: tls.FingerprintSHA256, NotAfter: tls.NotAfter}
	}
	for _, c := range st.Conditions {
		d.Conditions = append(d.Conditions, ConditionDocument{Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: c.Message})
	}
	d.Plan, d.LastPlan = planDocument(st.Plan), lastPlanDocument(st.LastPlan)
	if h := st.Hold; h != nil {
		d.Hold = &HoldDocument{Reason: h.Reason, Since: h.Since.UTC()}
	}
	return d
}

func planDocument(p *v1alpha1.Plan) *PlanDocument {
	if p == nil {
		return nil
	}
	d := &PlanDocument{ID: p.ID, Kind: string(p.Kind), Causes: causes(p.Causes), Phase: string(p.Phase),
		Started: p.StartedAt.UTC(), Tasks: []TaskDocument{}}
	for i := range p.Tasks {
		t := &p.Tasks[i]
		message := t.Message
		if t.Error != "" {
			message = t.Error
		}
		d.Tasks = append(d.Tasks, TaskDocument{Type: string(t.Type), Status: string(t.Status), Why: t.Why, Message: message})
	}
	return d
}

func lastPlanDocument(p *v1alpha1.PlanSummary) *LastPlanDocument {
	if p == nil {
		return nil
	}
	d := &LastPlanDocument{ID: p.ID, Kind: string(p.Kind), Causes: causes(p.Causes), Outcome: string(p.Outcome),
		FinishedAt: p.FinishedAt.UTC(), DurationSeconds: p.FinishedAt.Sub(p.StartedAt.Time).Seconds(),
		FailedTask: string(p.FailedTask), Detail: p.Detail}
	if p.PodCycle != nil {
		s := p.PodCycle.Seconds()
		d.PodCycleSeconds = &s
	}
	return d
}

func causes(in []v1alpha1.PlanCause) []string {
	out := []string{}
	for _, c := range in {
		out = append(out, string(c))
	}
	return out
}

// result writes how a node came out, in a line or two.
func (d *Document) result(p *ui.Printer) {
	state := p.Good(d.State)
	switch drive.State(d.State) {
	case drive.Failed:
		state = p.Bad(d.State)
	case drive.Paused, drive.Working:
		state = p.Warn(d.State)
	}
	text := d.Detail
	switch {
	case text != "":
	case d.State == string(drive.Working):
		text = d.stateText()
	default:
		text = d.runs()
	}
	p.Wrap(p.Bold(d.Node.Namespace+"/"+d.Node.Name)+"  "+state+"  ", text)
}

// runs says what the node runs.
func (d *Document) runs() string {
	text := "image " + orNone(d.Image) + ", TLS " + d.TLS.text()
	if l := d.LastPlan; l != nil && l.PodCycleSeconds != nil && l.Kind != string(v1alpha1.NodeInit) {
		text += ", pod away for " + round(*l.PodCycleSeconds)
	}
	return text
}

func (t *TLSDocument) text() string {
	if t == nil {
		return plan.TLSText(nil)
	}
	text := t.Source
	if t.FingerprintSHA256 != "" {
		text += " (leaf " + shortFingerprint(t.FingerprintSHA256)
		if t.NotAfter != nil {
			text += ", valid until " + t.NotAfter.UTC().Format(time.RFC3339)
		}
		text += ")"
	}
	return text
}

// shortFingerprint is enough of a fingerprint for people.
func shortFingerprint(s string) string {
	if len(s) > 16 {
		return s[:16] + "…"
	}
	return s
}

func round(seconds float64) string {
	return (time.Duration(seconds*10) * time.Second / 10).String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
