package explain

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
)

// links are the objects that the node hangs on, in order.
func (f *Facts) links() []*Link {
	var out []*Link
	for _, link := range []func() *Link{
		f.certificate, f.request, f.issuer, f.caSecret, f.secret, f.pod, f.proxy, f.sidecar, f.seid,
	} {
		if l := link(); l != nil {
			out = append(out, l)
		}
	}
	return out
}

// rule names a cause; nil when it does not apply.
type rule struct {
	name  string
	cause func(*Facts) *Cause
}

// rules in their order: the first that applies decides.
var rules = []rule{
	// What stops everything.
	{"terminating", (*Facts).terminating},
	{"foreignController", (*Facts).foreignController},
	{"held", (*Facts).held},
	{"paused", (*Facts).paused},
	// What keeps a plan that could go on.
	{"budget", (*Facts).queued},
	// What a plan needs before it touches the pod: of an issuance that hangs, what was said of the request first, then the
	// deepest link.
	{"issuance", (*Facts).hangingIssuance},
	{"secret", func(f *Facts) *Cause { return f.secret().decisive() }},
	{"lock", (*Facts).locked},
	// The pod and what is in it.
	{"pod", func(f *Facts) *Cause { return f.pod().decisive() }},
	{"proxy", func(f *Facts) *Cause { return f.proxy().decisive() }},
	{"sidecar", func(f *Facts) *Cause { return f.sidecar().decisive() }},
	{"seid", func(f *Facts) *Cause { return f.seid().decisive() }},
	// What the engine itself says.
	{"blocked", (*Facts).blocked},
	{"backoff", (*Facts).backoff},
	{"driver", (*Facts).noDriver},
	{"task", (*Facts).waitingTask},
}

func (f *Facts) decide() *Cause {
	for i := range rules {
		if c := rules[i].cause(f); c != nil {
			return c
		}
	}
	return nil
}

// decisive is the cause of a link, with what the link says.
func (l *Link) decisive() *Cause {
	if l == nil || l.cause == nil {
		return nil
	}
	c := *l.cause
	c.Object, c.Message = l.Object, l.Detail
	return &c
}

func (f *Facts) nodeObject() string { return "SeiNode " + f.Node.Namespace + "/" + f.Node.Name }

func (f *Facts) terminating() *Cause {
	at := f.Node.DeletionTimestamp
	if at == nil {
		return nil
	}
	return &Cause{Code: CodeTerminating, Object: f.nodeObject(), Message: "the node is being deleted: no task runs", Since: &at.Time}
}

func (f *Facts) foreignController() *Cause {
	by := f.Snapshot.ForeignController
	if by == "" {
		return nil
	}
	return &Cause{Code: CodeForeignController, Object: f.nodeObject(),
		Message: fmt.Sprintf("%s writes this node as well: seictl does not drive it while that controller does", by),
		next:    []string{"kubectl get seinode " + f.on() + " -o yaml --show-managed-fields"}}
}

func (f *Facts) held() *Cause {
	h := f.Node.Status.Hold
	if h == nil || f.Decision.Idle != plan.IdleHeld {
		return nil
	}
	what := "it failed"
	if c := f.condition(v1alpha1.ConditionNodeUpdateInProgress); c != nil && c.Reason == v1alpha1.ReasonRolledBack {
		what = "the update failed and was rolled back"
	}
	return &Cause{Code: CodeHeld, Object: f.nodeObject(), Since: &h.Since.Time,
		Message: what + ", and is not tried again until the spec changes or a retry is asked for: " + h.Reason,
		next:    []string{"seictl node retry " + f.on(), "seictl node plan " + f.on()}}
}

func (f *Facts) condition(t string) *metav1.Condition {
	return meta.FindStatusCondition(f.Node.Status.Conditions, t)
}

func (f *Facts) paused() *Cause {
	stands := f.Decision.Idle == plan.IdlePaused
	if t, i := f.task(); t != nil && f.Node.Spec.Paused {
		p := f.Node.Status.Plan
		stands = stands || plan.BeforeTemplate(p, i) && (p.Kind == v1alpha1.NodeUpdate || p.Kind == v1alpha1.NodeInit)
	}
	if !stands {
		return nil
	}
	return &Cause{Code: CodePaused, Object: f.nodeObject(), Message: "spec.paused is true: what is due does not run",
		next: []string{fmt.Sprintf(`kubectl patch seinode %s --type=merge -p '{"spec":{"paused":false}}'`, f.on())}}
}

func (f *Facts) queued() *Cause {
	c := f.condition(v1alpha1.ConditionNodeUpdateInProgress)
	t, _ := f.task()
	if t == nil || c == nil || c.Status != metav1.ConditionTrue || c.Reason != v1alpha1.ReasonUpdateQueued {
		return nil
	}
	message := t.Message
	if message == "" {
		message = c.Message
	}
	return &Cause{Code: CodeBudgetWait, Object: "chain " + f.Node.Spec.ChainID, Message: message, Since: &c.LastTransitionTime.Time,
		next: []string{"seictl node status -A --chain " + f.Node.Spec.ChainID}}
}

// due says whether something should run that no plan has begun.
func (f *Facts) due() bool {
	return !f.Node.Status.Plan.Active() && f.Decision.New && f.Decision.Plan != nil
}

// locked: the change waits for another driver.
func (f *Facts) locked() *Cause {
	d := &f.Driver
	if !f.due() || d.Holder == "" || d.Operator {
		return nil
	}
	if k := f.Decision.Plan.Kind; k != v1alpha1.NodeUpdate && k != v1alpha1.NodeInit {
		// Nobody asked for a change: what is wrong with the node says more.
		return nil
	}
	return &Cause{Code: CodeLockWait, Object: "Lease sei-system/seictl-engine", Since: d.Since,
		Message: fmt.Sprintf("the change is not begun, and %s drives other nodes: one driver at a time", d.Holder),
		next:    []string{"seictl node apply " + f.on() + " --lock-timeout 10m"}}
}

// hangingIssuance decides among the links of a certificate that does not come.
func (f *Facts) hangingIssuance() *Cause {
	p := f.Node.Status.Plan
	switch {
	case !f.issued() || f.issuance().Ready && !f.NoCertManager:
		return nil
	case p.Active() && p.Kind == v1alpha1.NodeRollback:
		// Any sound pair will do.
		return nil
	case !f.due() && !p.Active() && f.Decision.Idle == plan.NotIdle && f.Verdict != nil && f.Verdict.Ready:
		// Nothing waits for it: the certificate that is there serves on.
		return nil
	}
	certificate, request := f.certificate(), f.request()
	if f.NoCertManager {
		return certificate.decisive()
	}
	for _, l := range []*Link{request, f.caSecret(), f.issuer(), certificate} {
		if l == nil || l.cause == nil {
			continue
		}
		c := l.decisive()
		// What cert-manager itself says comes with it.
		if said := f.issuance().Message; l != request && l != certificate && request != nil {
			c.Message += "; " + said
		}
		if c.Since == nil && f.Snapshot.Certificate != nil {
			c.Since = issuingSince(f.Snapshot.Certificate)
		}
		if c.RetryAt == nil {
			c.RetryAt = f.issuance().RetryAt
		}
		return c
	}
	return nil
}

func (f *Facts) blocked() *Cause {
	c := f.condition(v1alpha1.ConditionNodeUpdateInProgress)
	switch {
	case f.Decision.Idle == plan.IdleBlocked:
		return &Cause{Code: CodeBlocked, Object: f.nodeObject(), Message: "the update does not start: " + f.Decision.Detail,
			next: []string{"seictl node plan " + f.on()}}
	case c != nil && c.Reason == v1alpha1.ReasonUpdateBlocked && c.ObservedGeneration == f.Node.Generation && f.Report.NodeUpdateDue():
		return &Cause{Code: CodeBlocked, Object: f.nodeObject(), Message: "the update does not start: " + c.Message,
			Since: &c.LastTransitionTime.Time, next: []string{"seictl node plan " + f.on()}}
	}
	return nil
}

func (f *Facts) backoff() *Cause {
	if f.Decision.Idle != plan.IdleBackoff {
		return nil
	}
	c := &Cause{Code: CodeRetryWait, Object: f.nodeObject(), Message: f.Decision.Detail, RetryAt: f.Decision.RetryAt,
		next: []string{"seictl node retry " + f.on()}}
	if p := f.Node.Status.Plan; p != nil && p.FinishedAt != nil {
		c.Since = &p.FinishedAt.Time
	}
	return c
}

func (f *Facts) noDriver() *Cause {
	if !f.Driver.Known || f.Driver.Holder != "" {
		return nil
	}
	c := &Cause{Code: CodeNoDriver, Object: f.nodeObject(), next: []string{"seictl node apply " + f.on()}}
	switch t, _ := f.task(); {
	case t != nil:
		c.Message = fmt.Sprintf("the plan stands at %s, and nobody drives it: it goes on where it stopped", t.Type)
	case f.due():
		c.Message = "the change is not begun, and nobody drives"
	default:
		return nil
	}
	return c
}

func (f *Facts) waitingTask() *Cause {
	t, _ := f.task()
	if t == nil {
		return nil
	}
	message := t.Message
	switch {
	case t.Error != "":
		message = t.Error
	case message == "":
		message = t.Why
	}
	return &Cause{Code: CodeTaskWait, Object: "task " + string(t.Type), Message: message, next: []string{"seictl node status " + f.on() + " -w"}}
}

// started is when a container started; nil when it does not run.
func started(s *corev1.ContainerStatus) *time.Time {
	if s == nil || s.State.Running == nil {
		return nil
	}
	return &s.State.Running.StartedAt.Time
}
