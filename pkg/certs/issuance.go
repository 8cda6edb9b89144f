package certs

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
)

const (
	issuerGroup = "cert-manager.io"
	// cert-manager's back-off after a failed issuance: it doubles from the first to the last.
	firstBackoff = time.Hour
	lastBackoff  = 32 * time.Hour
)

// Issuance is how far cert-manager is with a Certificate.
type Issuance struct {
	// Ready says that what the Certificate asks for now is issued.
	Ready bool
	// Denied says that the issuance failed for good: it was denied, is invalid or failed, and cert-manager tries again in
	// an hour at the earliest.
	Denied bool
	// Message says what cert-manager waits for, in its own words. It does not change while the objects do not.
	Message string
	// RetryAt is when cert-manager tries again by itself; nil when it is not backing off.
	RetryAt *time.Time
}

// JudgeIssuance says how far cert-manager is with a Certificate that names the target's issuer; nil stands for one that
// does not exist. Ready of an earlier generation counts for nothing, and only the CertificateRequest of the next revision
// with the target's issuer speaks: the denial of an older one lingers.
func JudgeIssuance(cert *cmv1.Certificate, requests []cmv1.CertificateRequest, target v1alpha1.SidecarTLSConfig,
	now time.Time) Issuance {
	if target.IssuerName == "" {
		return Issuance{Ready: true, Message: "nothing is to be issued: " + target.String() + " is provisioned by somebody else"}
	}
	if cert == nil {
		return Issuance{Message: "the Certificate for " + target.String() + " does not exist yet"}
	}
	name := "Certificate " + cert.Namespace + "/" + cert.Name
	switch got := issuerString(cert.Spec.IssuerRef); {
	case cert.DeletionTimestamp != nil:
		return Issuance{Message: name + " is being deleted"}
	case got != target.String():
		return Issuance{Message: fmt.Sprintf("%s names the issuer %s, wanted %s", name, got, target.String())}
	}
	ready, issuing := condition(cert, cmv1.CertificateConditionReady), condition(cert, cmv1.CertificateConditionIssuing)
	if isTrue(ready) && ready.ObservedGeneration == cert.Generation && !isTrue(issuing) {
		return Issuance{Ready: true, Message: name + " is Ready"}
	}
	out := Issuance{RetryAt: retryAt(cert, issuing, now)}
	if req := spokenRequest(cert, requests); req != nil {
		out.Denied, out.Message = judgeRequest(req, cert, issuing)
	} else {
		out.Message = describeCertificate(name, cert, ready, issuing)
	}
	if out.RetryAt != nil {
		out.Message += "; cert-manager tries again at " + stamp(*out.RetryAt)
	}
	return out
}

func condition(cert *cmv1.Certificate, t cmv1.CertificateConditionType) *cmv1.CertificateCondition {
	i := slices.IndexFunc(cert.Status.Conditions, func(c cmv1.CertificateCondition) bool { return c.Type == t })
	if i < 0 {
		return nil
	}
	return &cert.Status.Conditions[i]
}

func requestCondition(req *cmv1.CertificateRequest, t cmv1.CertificateRequestConditionType) *cmv1.CertificateRequestCondition {
	i := slices.IndexFunc(req.Status.Conditions, func(c cmv1.CertificateRequestCondition) bool { return c.Type == t })
	if i < 0 {
		return nil
	}
	return &req.Status.Conditions[i]
}

func isTrue(c *cmv1.CertificateCondition) bool { return c != nil && c.Status == cmmeta.ConditionTrue }

// retryAt is when cert-manager ends its back-off. It skips it when the spec changed since the failure, and there is none
// while it issues.
func retryAt(cert *cmv1.Certificate, issuing *cmv1.CertificateCondition, now time.Time) *time.Time {
	if cert.Status.LastFailureTime == nil || isTrue(issuing) || specChanged(cert, issuing) {
		return nil
	}
	at := cert.Status.LastFailureTime.Add(backoff(cert.Status.FailedIssuanceAttempts))
	if !at.After(now) {
		return nil
	}
	return &at
}

func backoff(attempts *int) time.Duration {
	d := firstBackoff
	for n := 1; attempts != nil && n < *attempts && d < lastBackoff; n++ {
		d *= 2
	}
	return d
}

// specChanged says whether the Certificate changed since its last issuance ended in failure.
func specChanged(cert *cmv1.Certificate, issuing *cmv1.CertificateCondition) bool {
	return issuing != nil && issuing.ObservedGeneration < cert.Generation
}

// spokenRequest is the CertificateRequest of the issuance under way, or of the one that failed last; nil without one.
func spokenRequest(cert *cmv1.Certificate, requests []cmv1.CertificateRequest) *cmv1.CertificateRequest {
	next := 1
	if cert.Status.Revision != nil {
		next = *cert.Status.Revision + 1
	}
	var spoken *cmv1.CertificateRequest
	for i := range requests {
		req := &requests[i]
		switch {
		case req.Annotations[cmv1.CertificateRequestRevisionAnnotationKey] != strconv.Itoa(next),
			issuerString(req.Spec.IssuerRef) != issuerString(cert.Spec.IssuerRef),
			!metav1.IsControlledBy(req, cert),
			req.DeletionTimestamp != nil:
			continue
		}
		// cert-manager deletes all but one; until then the newest is the likeliest to stay.
		if spoken == nil || newer(req, spoken) {
			spoken = req
		}
	}
	return spoken
}

func newer(a, b *cmv1.CertificateRequest) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) > 0
}

// judgeRequest says what became of a request, and whether that is for good.
func judgeRequest(req *cmv1.CertificateRequest, cert *cmv1.Certificate, issuing *cmv1.CertificateCondition) (bool, string) {
	name := fmt.Sprintf("CertificateRequest %s/%s (issuer %s)", req.Namespace, req.Name, issuerString(req.Spec.IssuerRef))
	ready := requestCondition(req, cmv1.CertificateRequestConditionReady)
	if word, c := failure(req, ready); c != nil {
		if outlived(req, c, cert, issuing) {
			return false, fmt.Sprintf("%s was %s before; waiting for cert-manager to replace it", name, word)
		}
		return true, fmt.Sprintf("%s was %s: %s", name, word, words(c.Reason, c.Message))
	}
	if ready != nil && ready.Reason == cmv1.CertificateRequestReasonIssued {
		if issuing != nil && !isTrue(issuing) && cert.Status.LastFailureTime != nil && !specChanged(cert, issuing) {
			return true, fmt.Sprintf("%s was issued, but cert-manager refuses the result: %s", name, words(issuing.Reason, issuing.Message))
		}
		return false, name + " is issued; waiting for cert-manager to store the certificate"
	}
	approved := requestCondition(req, cmv1.CertificateRequestConditionApproved)
	switch {
	case ready != nil:
		return false, fmt.Sprintf("%s waits: %s", name, words(ready.Reason, ready.Message))
	case approved == nil || approved.Status != cmmeta.ConditionTrue:
		return false, name + " waits for approval: it is neither approved nor denied; is an approver running, and may it approve for this issuer?"
	default:
		return false, name + " is approved, and the issuer has not answered yet"
	}
}

// failure returns the condition that says that a request failed, and the word for it. A denial counts even when the
// issuer went on and issued, as it does for cert-manager.
func failure(req *cmv1.CertificateRequest, ready *cmv1.CertificateRequestCondition) (string, *cmv1.CertificateRequestCondition) {
	if c := requestCondition(req, cmv1.CertificateRequestConditionDenied); c != nil && c.Status == cmmeta.ConditionTrue {
		return "denied", c
	}
	if c := requestCondition(req, cmv1.CertificateRequestConditionInvalidRequest); c != nil && c.Status == cmmeta.ConditionTrue {
		return "refused as invalid", c
	}
	if ready == nil || ready.Status != cmmeta.ConditionFalse {
		return "", nil
	}
	switch ready.Reason {
	case cmv1.CertificateRequestReasonFailed:
		return "failed", ready
	case cmv1.CertificateRequestReasonDenied:
		return "denied", ready
	}
	return "", nil
}

// outlived says whether a failure belongs to an issuance before the present one: another one began after it, or the spec
// changed since, which makes cert-manager begin one. Times have whole seconds: in doubt the failure counts.
func outlived(req *cmv1.CertificateRequest, failed *cmv1.CertificateRequestCondition, cert *cmv1.Certificate,
	issuing *cmv1.CertificateCondition) bool {
	if !isTrue(issuing) {
		return specChanged(cert, issuing)
	}
	at := failed.LastTransitionTime
	if req.Status.FailureTime != nil {
		at = req.Status.FailureTime
	}
	return at != nil && issuing.LastTransitionTime != nil && at.Before(issuing.LastTransitionTime)
}

// describeCertificate says what a Certificate waits for while no request speaks.
func describeCertificate(name string, cert *cmv1.Certificate, ready, issuing *cmv1.CertificateCondition) string {
	seen := int64(0)
	for _, c := range []*cmv1.CertificateCondition{ready, issuing} {
		if c != nil {
			seen = max(seen, c.ObservedGeneration)
		}
	}
	switch {
	case ready == nil && issuing == nil:
		return name + " is not seen by cert-manager yet; is its controller running?"
	case seen < cert.Generation:
		return fmt.Sprintf("%s is at generation %d and cert-manager has seen %d; is its controller running?",
			name, cert.Generation, seen)
	case isTrue(issuing):
		return fmt.Sprintf("%s is being issued: %s", name, words(issuing.Reason, issuing.Message))
	case issuing != nil && !specChanged(cert, issuing) && cert.Status.LastFailureTime != nil:
		return fmt.Sprintf("%s was not issued: %s", name, words(issuing.Reason, issuing.Message))
	case ready != nil && !isTrue(ready):
		return fmt.Sprintf("%s is not Ready: %s", name, words(ready.Reason, ready.Message))
	default:
		return name + " is not Ready at its current generation yet"
	}
}

func words(reason, message string) string {
	switch {
	case message == "":
		return reason
	case reason == "":
		return message
	}
	return reason + ": " + message
}
