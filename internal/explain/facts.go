package explain

import (
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
)

// Facts are all that an explanation is made from.
type Facts struct {
	Now  time.Time
	Node *v1alpha1.SeiNode
	// Report is the drift found, and Decision what a pass would go on with.
	Report   drift.Report
	Decision plan.Decision
	Snapshot *drift.Snapshot
	// NoCertManager says that the cluster does not know cert-manager's kinds.
	NoCertManager bool
	// Requests of the namespace.
	Requests []cmv1.CertificateRequest
	// Issuer of the target; nil when it has none.
	Issuer *Issuer
	// Verdict on the target's Secret; nil without TLS.
	Verdict *certs.Verdict
	// Mount is what the kubelet last said of volumes that it could not mount; empty for nothing.
	Mount string
	Wire  Wire
	RPC   RPC
	// Driver of the cluster's nodes.
	Driver Driver
}

// Presence says what a read came to.
type Presence int

// What a read came to.
const (
	// Unread: nobody looked, or nobody may.
	Unread Presence = iota
	// Found: it is there.
	Found
	// Absent: there is no such object.
	Absent
)

// Issuer is a ClusterIssuer or Issuer.
type Issuer struct {
	Kind, Namespace, Name string
	Presence              Presence
	// Detail is why it was not read.
	Detail string
	// Ready, with reason, message and since when, in cert-manager's words.
	Ready           bool
	Reason, Message string
	Since           *time.Time
	// Twin says that an issuer of the same name and the other kind exists.
	Twin bool
	// Others are those that could take its place, as Kind/name.
	Others []string
	// CASecret is the Secret with its CA, as namespace/name; empty for another type of issuer.
	CASecret         string
	CASecretPresence Presence
}

// Wire is what a pod answered.
type Wire struct {
	// Asked says that somebody tried.
	Asked bool
	// Err is why no connection came about.
	Err error
	// Health is the status of the health path, and Status that of the authenticated one; 0 for no answer.
	Health, Status int
	// StatusErr is why the authenticated path gave no answer.
	StatusErr error
}

// RPC is what seid answered on its RPC port.
type RPC struct {
	Asked      bool
	Err        error
	CatchingUp bool
	Height     string
}

// Driver is whoever runs the engine.
type Driver struct {
	// Known says that the Lease could be read.
	Known bool
	// Holder of the Lease; empty for nobody.
	Holder string
	// Operator says that the holder is an operator.
	Operator bool
	// Since when it holds it.
	Since *time.Time
}

// target is what the node is to run: that of the plan under way, else of the spec.
func (f *Facts) target() v1alpha1.PlanTarget {
	if p := f.Node.Status.Plan; p.Active() {
		return p.Target
	}
	return f.Report.Target
}

// tls is the TLS of the target; nil for off.
func (f *Facts) tls() *v1alpha1.SidecarTLSConfig { return f.target().SidecarTLS }

// task is the task of the active plan that is next or at work; nil without one.
func (f *Facts) task() (*v1alpha1.Task, int) {
	p := f.Node.Status.Plan
	if !p.Active() {
		return nil, 0
	}
	i := plan.Current(p)
	if i < 0 {
		return nil, 0
	}
	return &p.Tasks[i], i
}

// issuance is how far cert-manager is with the target's certificate.
func (f *Facts) issuance() certs.Issuance {
	if tls := f.tls(); tls != nil {
		return certs.JudgeIssuance(f.Snapshot.Certificate, f.Requests, *tls, f.Now)
	}
	return certs.Issuance{Ready: true}
}
