package explain

import (
	"fmt"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

// certificate is the Certificate of a target with an issuer.
func (f *Facts) certificate() *Link {
	if !f.issued() {
		return nil
	}
	l := &Link{Object: "Certificate " + f.Node.Namespace + "/" + resources.CertificateName(f.Node.Name), State: Waits}
	i := f.issuance()
	l.Detail = ofIt(l.Object, i.Message)
	switch {
	case f.NoCertManager:
		l.State, l.Detail = Broken, "the cluster does not know cert-manager's kinds: cert-manager is not installed"
		l.cause = &Cause{Code: CodeCertManagerMissing, next: []string{"seictl check", "kubectl get crd certificates.cert-manager.io"}}
	case i.Ready:
		l.State = OK
	case f.foreign("Certificate") != "":
		l.State, l.Detail = Broken, "it is not this node's: "+f.foreign("Certificate")
		l.cause = &Cause{Code: CodeCertificateNotReady, next: []string{"kubectl describe " + lower(l.Object)}}
	case f.Snapshot.Certificate != nil:
		l.cause = &Cause{Code: CodeCertificateNotReady, Since: issuingSince(f.Snapshot.Certificate), RetryAt: i.RetryAt,
			next: []string{"kubectl describe " + lower(l.Object), "seictl node retry " + f.on()}}
	}
	return l
}

// issued says whether the target's certificate comes from an issuer.
func (f *Facts) issued() bool { return f.tls() != nil && f.tls().IssuerName != "" }

// foreign is an object of our name that is not the node's; empty for none.
func (f *Facts) foreign(kind string) string {
	for _, o := range f.Snapshot.Foreign {
		if strings.Contains(o, kind+" ") {
			return o
		}
	}
	return ""
}

func issuingSince(c *cmv1.Certificate) *time.Time {
	for _, want := range []cmv1.CertificateConditionType{cmv1.CertificateConditionIssuing, cmv1.CertificateConditionReady} {
		for _, cond := range c.Status.Conditions {
			if cond.Type == want && cond.LastTransitionTime != nil {
				return &cond.LastTransitionTime.Time
			}
		}
	}
	return nil
}

// request is the CertificateRequest that speaks now.
func (f *Facts) request() *Link {
	if !f.issued() || f.Snapshot.Certificate == nil || f.issuance().Ready {
		return nil
	}
	req := certs.CurrentRequest(f.Snapshot.Certificate, f.Requests)
	if req == nil {
		return nil
	}
	l := &Link{Object: "CertificateRequest " + req.Namespace + "/" + req.Name, State: Waits}
	is := map[cmv1.CertificateRequestConditionType]*cmv1.CertificateRequestCondition{}
	for i := range req.Status.Conditions {
		is[req.Status.Conditions[i].Type] = &req.Status.Conditions[i]
	}
	holds := func(t cmv1.CertificateRequestConditionType) bool {
		return is[t] != nil && is[t].Status == cmmeta.ConditionTrue
	}
	ready := is[cmv1.CertificateRequestConditionReady]
	switch {
	case holds(cmv1.CertificateRequestConditionDenied):
		l.broken(CodeRequestDenied, "denied", is[cmv1.CertificateRequestConditionDenied], f)
	case holds(cmv1.CertificateRequestConditionInvalidRequest):
		l.broken(CodeRequestFailed, "refused as invalid", is[cmv1.CertificateRequestConditionInvalidRequest], f)
	case ready != nil && ready.Reason == cmv1.CertificateRequestReasonFailed:
		l.broken(CodeRequestFailed, "failed", ready, f)
	case ready != nil && ready.Reason == cmv1.CertificateRequestReasonIssued:
		l.State, l.Detail = OK, "issued"
	case ready != nil:
		l.Detail = ready.Reason + ": " + ready.Message
	case !holds(cmv1.CertificateRequestConditionApproved):
		l.State, l.Detail = Broken, "it is neither approved nor denied: is an approver running, and may it approve for this issuer?"
		l.cause = &Cause{Code: CodeApproverIdle, Since: &req.CreationTimestamp.Time,
			next: []string{fmt.Sprintf("cmctl approve %s -n %s", req.Name, req.Namespace), "kubectl describe " + lower(l.Object)}}
	default:
		l.Detail = "it is approved, and the issuer has not answered yet"
	}
	return l
}

func (l *Link) broken(code Code, word string, c *cmv1.CertificateRequestCondition, f *Facts) {
	l.State, l.Detail = Broken, fmt.Sprintf("it was %s: %s", word, strings.Trim(c.Reason+": "+c.Message, ": "))
	l.cause = &Cause{Code: code, RetryAt: f.issuance().RetryAt,
		next: []string{"seictl node retry " + f.on(), "kubectl describe " + lower(l.Object)}}
	if c.LastTransitionTime != nil {
		l.cause.Since = &c.LastTransitionTime.Time
	}
}

// issuer is the issuer of the target.
func (f *Facts) issuer() *Link {
	i := f.Issuer
	if !f.issued() || i == nil || f.NoCertManager {
		return nil
	}
	l := &Link{Object: i.Kind + " " + i.name()}
	switch {
	case i.Presence == Unread:
		l.State, l.Detail = Unknown, i.Detail
	case i.Presence == Absent && i.Twin:
		other := v1alpha1.IssuerKindIssuer
		if i.Kind == other {
			other = v1alpha1.IssuerKindClusterIssuer
		}
		l.State, l.Detail = Broken, fmt.Sprintf("there is no such %s, but there is %s of that name", i.Kind, article(other))
		l.cause = &Cause{Code: CodeIssuerWrongKind, next: []string{f.useIssuer(i.Name, other)}}
	case i.Presence == Absent:
		l.State, l.Detail = Broken, fmt.Sprintf("there is no such %s", i.Kind)
		l.cause = &Cause{Code: CodeIssuerMissing}
		for _, o := range i.Others {
			kind, name, _ := strings.Cut(o, "/")
			l.cause.next = append(l.cause.next, f.useIssuer(name, kind))
		}
		if len(i.Others) > 0 {
			l.Detail += "; there is " + strings.Join(i.Others, ", ")
		}
		l.cause.next = append(l.cause.next, "kubectl get clusterissuers,issuers -A")
	case !i.Ready:
		l.State, l.Detail = Broken, "it is not Ready: "+strings.Trim(i.Reason+": "+i.Message, ": ")
		l.cause = &Cause{Code: CodeIssuerNotReady, Since: i.Since, next: []string{"kubectl describe " + lower(l.Object)}}
	default:
		l.State, l.Detail = OK, "it is Ready"
	}
	return l
}

func (i *Issuer) name() string {
	if i.Namespace == "" {
		return i.Name
	}
	return i.Namespace + "/" + i.Name
}

func article(kind string) string {
	if kind == v1alpha1.IssuerKindIssuer {
		return "an Issuer"
	}
	return "a " + kind
}

// useIssuer is the command that turns to another issuer.
func (f *Facts) useIssuer(name, kind string) string {
	command := fmt.Sprintf("seictl node apply %s --tls --issuer %s", f.on(), name)
	if kind != v1alpha1.IssuerKindClusterIssuer {
		command += " --issuer-kind " + kind
	}
	return command
}

// caSecret is the Secret with the CA of the issuer.
func (f *Facts) caSecret() *Link {
	i := f.Issuer
	if !f.issued() || i == nil || i.CASecret == "" {
		return nil
	}
	l := &Link{Object: "Secret " + i.CASecret + " (the CA's)"}
	switch i.CASecretPresence {
	case Unread:
		l.State, l.Detail = Unknown, "it may not be looked at"
	case Absent:
		l.State, l.Detail = Broken, fmt.Sprintf("it does not exist, so that %s %s cannot sign", i.Kind, i.name())
		namespace, name, _ := strings.Cut(i.CASecret, "/")
		l.cause = &Cause{Code: CodeCASecretMissing, Since: i.Since,
			next: []string{fmt.Sprintf("kubectl create secret tls %s -n %s --cert=ca.crt --key=ca.key", name, namespace), "kubectl describe " + lower(i.Kind+" "+i.name())}}
	default:
		l.State, l.Detail = OK, "it exists"
	}
	return l
}

// secret is the TLS Secret of the target.
func (f *Facts) secret() *Link {
	tls, v := f.tls(), f.Verdict
	if tls == nil || v == nil {
		return nil
	}
	name := f.Node.Namespace + "/" + resources.SecretName(f.Node.Name, tls)
	l := &Link{Object: "Secret " + name, Detail: ofIt("Secret "+name, v.Message)}
	switch {
	case v.Unknown:
		l.State = Unknown
	case v.Ready:
		l.State = OK
	case tls.IssuerName != "" && !f.issuance().Ready:
		// It comes with the certificate.
		l.State = Waits
	default:
		l.State, l.cause = Broken, &Cause{Code: secretCode(v.Reason), next: f.repairSecret(tls, name)}
	}
	return l
}

func secretCode(reason string) Code {
	switch reason {
	case v1alpha1.ReasonTLSSecretNotFound:
		return CodeSecretNotFound
	case v1alpha1.ReasonTLSSecretSANsMismatch:
		return CodeSecretSANsMismatch
	}
	return CodeSecretUnsound
}

func (f *Facts) repairSecret(tls *v1alpha1.SidecarTLSConfig, name string) []string {
	namespace, bare, _ := strings.Cut(name, "/")
	if tls.IssuerName != "" {
		return []string{fmt.Sprintf("cmctl renew %s -n %s", resources.CertificateName(f.Node.Name), namespace),
			fmt.Sprintf("kubectl describe secret %s -n %s", bare, namespace)}
	}
	return []string{
		fmt.Sprintf("kubectl get seinode %s -o jsonpath='{.status.sidecarTLS.requiredDNSNames}'", f.on()),
		fmt.Sprintf("kubectl create secret tls %s -n %s --cert=tls.crt --key=tls.key --dry-run=client -o yaml | kubectl apply -f -", bare, namespace),
	}
}

// ofIt is a message that begins with the name of the object that it is said of, without the name.
func ofIt(object, message string) string {
	if rest, ok := strings.CutPrefix(message, object+" "); ok {
		return "it " + rest
	}
	if rest, ok := strings.CutPrefix(message, object+": "); ok {
		return rest
	}
	return message
}

// lower is an object as kubectl's arguments name it.
func lower(object string) string {
	kind, name, _ := strings.Cut(object, " ")
	namespace, bare, namespaced := strings.Cut(name, "/")
	if !namespaced {
		return strings.ToLower(kind) + " " + name
	}
	return strings.ToLower(kind) + " " + bare + " -n " + namespace
}
