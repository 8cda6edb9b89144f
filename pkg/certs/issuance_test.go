package certs_test

import (
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
)

var target = v1alpha1.SidecarTLSConfig{IssuerName: "sei-ca"}

func at(ago time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-ago)} }

// certificate is one at generation 2 and revision 1, with conditions.
func certificate(conditions ...cmv1.CertificateCondition) *cmv1.Certificate {
	return &cmv1.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sei", Name: "archive-0-sidecar-tls", UID: "cert-uid", Generation: 2},
		Spec: cmv1.CertificateSpec{IssuerRef: cmmeta.IssuerReference{
			Name: "sei-ca", Kind: "ClusterIssuer", Group: "cert-manager.io",
		}},
		Status: cmv1.CertificateStatus{Revision: new(1), Conditions: conditions},
	}
}

func ready(status cmmeta.ConditionStatus, generation int64, reason, message string) cmv1.CertificateCondition {
	return cmv1.CertificateCondition{
		Type: cmv1.CertificateConditionReady, Status: status, ObservedGeneration: generation, Reason: reason, Message: message,
	}
}

func issuing(status cmmeta.ConditionStatus, generation int64, ago time.Duration, reason, message string) cmv1.CertificateCondition {
	return cmv1.CertificateCondition{
		Type: cmv1.CertificateConditionIssuing, Status: status, ObservedGeneration: generation,
		LastTransitionTime: at(ago), Reason: reason, Message: message,
	}
}

// failing is a Certificate whose last issuance failed, some attempts and some time ago.
func failing(attempts int, ago time.Duration, issuingGeneration int64) *cmv1.Certificate {
	c := certificate(
		ready(cmmeta.ConditionFalse, 2, "IncorrectIssuer", "previously issued by old-ca"),
		issuing(cmmeta.ConditionFalse, issuingGeneration, ago, "Denied", "will be retried: no"),
	)
	c.Status.LastFailureTime, c.Status.FailedIssuanceAttempts = at(ago), &attempts
	return c
}

func inProgress() *cmv1.Certificate {
	return certificate(
		ready(cmmeta.ConditionFalse, 2, "IncorrectIssuer", "previously issued by old-ca"),
		issuing(cmmeta.ConditionTrue, 2, time.Minute, "IncorrectIssuer", "Issuing certificate as Secret was previously issued by old-ca"),
	)
}

// request is the one of revision 2, of the target's issuer, with conditions.
func request(conditions ...cmv1.CertificateRequestCondition) cmv1.CertificateRequest {
	return cmv1.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "sei", Name: "archive-0-sidecar-tls-2",
			Annotations: map[string]string{"cert-manager.io/certificate-revision": "2"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "cert-manager.io/v1", Kind: "Certificate", Name: "archive-0-sidecar-tls", UID: "cert-uid", Controller: new(true),
			}},
		},
		Spec: cmv1.CertificateRequestSpec{IssuerRef: cmmeta.IssuerReference{
			Name: "sei-ca", Kind: "ClusterIssuer", Group: "cert-manager.io",
		}},
		Status: cmv1.CertificateRequestStatus{Conditions: conditions},
	}
}

func is(t cmv1.CertificateRequestConditionType, status cmmeta.ConditionStatus, ago time.Duration, reason, message string) cmv1.CertificateRequestCondition {
	return cmv1.CertificateRequestCondition{
		Type: t, Status: status, LastTransitionTime: at(ago), Reason: reason, Message: message,
	}
}

var (
	approved = is("Approved", cmmeta.ConditionTrue, 0, "cert-manager.io", "approved by the approver")
	denied   = is("Denied", cmmeta.ConditionTrue, 0, "policy.cert-manager.io", "no policy allows it")
	notReady = is("Ready", cmmeta.ConditionFalse, 0, "Denied", "The CertificateRequest was denied by an approval controller")
	pending  = is("Ready", cmmeta.ConditionFalse, 0, "Pending", `Referenced "ClusterIssuer" not found: clusterissuer.cert-manager.io "sei-ca" not found`)
	failed   = is("Ready", cmmeta.ConditionFalse, 0, "Failed", "the CA said no")
	issued   = is("Ready", cmmeta.ConditionTrue, 0, "Issued", "fetched from issuer")
)

// ago puts a failure of the request into the past.
func ago(d time.Duration, r cmv1.CertificateRequest) cmv1.CertificateRequest {
	r.Status.FailureTime = at(d)
	for i := range r.Status.Conditions {
		r.Status.Conditions[i].LastTransitionTime = at(d)
	}
	return r
}

func changed(r cmv1.CertificateRequest, change func(*cmv1.CertificateRequest)) cmv1.CertificateRequest {
	change(&r)
	return r
}

func TestIssuanceReady(t *testing.T) {
	for name, cert := range map[string]*cmv1.Certificate{
		"issued":                     certificate(ready(cmmeta.ConditionTrue, 2, "Ready", "up to date")),
		"Issuing=False left behind":  certificate(ready(cmmeta.ConditionTrue, 2, "Ready", "up to date"), issuing(cmmeta.ConditionFalse, 2, 0, "Issued", "done")),
		"an old failure left behind": certificate(ready(cmmeta.ConditionTrue, 2, "Ready", "up to date"), issuing(cmmeta.ConditionFalse, 1, 0, "Failed", "no")),
	} {
		t.Run(name, func(t *testing.T) {
			got := certs.JudgeIssuance(cert, []cmv1.CertificateRequest{request(denied)}, target, now)
			require.True(t, got.Ready, got.Message)
			require.False(t, got.Denied)
			require.Nil(t, got.RetryAt)
		})
	}
}

func TestIssuanceOfAProvisionedSecret(t *testing.T) {
	require.True(t, certs.JudgeIssuance(nil, nil, v1alpha1.SidecarTLSConfig{SecretName: "mine"}, now).Ready)
}

func TestIssuanceWaits(t *testing.T) {
	deleted := certificate(ready(cmmeta.ConditionTrue, 2, "Ready", ""))
	deleted.DeletionTimestamp = at(0)
	foreign := certificate(ready(cmmeta.ConditionTrue, 2, "Ready", ""))
	foreign.Spec.IssuerRef.Name = "old-ca"
	wrongKind := certificate(ready(cmmeta.ConditionTrue, 2, "Ready", ""))
	wrongKind.Spec.IssuerRef.Kind = "" // cert-manager's default is Issuer, ours is ClusterIssuer
	first := inProgress()
	first.Status.Revision = nil

	for name, c := range map[string]struct {
		cert     *cmv1.Certificate
		requests []cmv1.CertificateRequest
		says     []string
	}{
		"no Certificate":       {nil, nil, []string{"ClusterIssuer/sei-ca", "does not exist yet"}},
		"being deleted":        {deleted, nil, []string{"sei/archive-0-sidecar-tls", "being deleted"}},
		"another issuer's":     {foreign, nil, []string{"names the issuer ClusterIssuer/old-ca, wanted ClusterIssuer/sei-ca"}},
		"another kind":         {wrongKind, nil, []string{"names the issuer Issuer/sei-ca, wanted ClusterIssuer/sei-ca"}},
		"not seen yet":         {certificate(), nil, []string{"not seen by cert-manager yet", "controller running"}},
		"stale Ready":          {certificate(ready(cmmeta.ConditionTrue, 1, "Ready", "up to date")), nil, []string{"at generation 2", "has seen 1"}},
		"Ready and issuing":    {certificate(ready(cmmeta.ConditionTrue, 2, "Ready", ""), issuing(cmmeta.ConditionTrue, 2, 0, "Renewing", "nearing expiry")), nil, []string{"is being issued: Renewing: nearing expiry"}},
		"no request yet":       {inProgress(), nil, []string{"is being issued", "previously issued by old-ca"}},
		"missing issuer":       {inProgress(), []cmv1.CertificateRequest{request(approved, pending)}, []string{"archive-0-sidecar-tls-2", "ClusterIssuer/sei-ca", "Pending", `Referenced "ClusterIssuer" not found`}},
		"first revision":       {first, []cmv1.CertificateRequest{changed(request(approved, pending), func(r *cmv1.CertificateRequest) { r.Annotations["cert-manager.io/certificate-revision"] = "1" })}, []string{`Referenced "ClusterIssuer" not found`}},
		"issuer not Ready":     {inProgress(), []cmv1.CertificateRequest{request(approved, is("Ready", cmmeta.ConditionFalse, 0, "Pending", "Referenced issuer does not have a Ready status condition"))}, []string{"does not have a Ready status condition"}},
		"approver idle":        {inProgress(), []cmv1.CertificateRequest{request()}, []string{"waits for approval", "neither approved nor denied", "approver running"}},
		"approved, no answer":  {inProgress(), []cmv1.CertificateRequest{request(approved)}, []string{"approved, and the issuer has not answered"}},
		"issued, not stored":   {inProgress(), []cmv1.CertificateRequest{request(approved, issued)}, []string{"is issued", "store"}},
		"Ready=False only":     {certificate(ready(cmmeta.ConditionFalse, 2, "IncorrectCertificate", "Secret was issued for theirs")), nil, []string{"not Ready: IncorrectCertificate: Secret was issued for theirs"}},
		"two, the newer tells": {inProgress(), []cmv1.CertificateRequest{changed(request(approved), func(r *cmv1.CertificateRequest) { r.CreationTimestamp = *at(time.Minute) }), changed(request(approved, pending), func(r *cmv1.CertificateRequest) { r.CreationTimestamp = *at(0) }), changed(request(), func(r *cmv1.CertificateRequest) { r.CreationTimestamp = *at(time.Hour) })}, []string{"Pending"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := certs.JudgeIssuance(c.cert, c.requests, target, now)
			require.False(t, got.Ready)
			require.False(t, got.Denied, got.Message)
			require.Nil(t, got.RetryAt)
			for _, says := range c.says {
				require.Contains(t, got.Message, says)
			}
		})
	}
}

func TestIssuanceFailsForGood(t *testing.T) {
	for name, c := range map[string]struct {
		cert    *cmv1.Certificate
		request cmv1.CertificateRequest
		says    []string
		retryIn time.Duration
	}{
		"denied":                    {failing(1, 0, 2), request(denied, notReady), []string{"was denied: policy.cert-manager.io: no policy allows it"}, time.Hour},
		"denied this second":        {inProgress(), ago(time.Minute, request(denied)), []string{"was denied"}, 0},
		"denied by Ready's reason":  {failing(1, 0, 2), request(notReady), []string{"was denied", "approval controller"}, time.Hour},
		"denied though issued":      {failing(1, 0, 2), request(denied, issued), []string{"was denied"}, time.Hour},
		"invalid":                   {failing(1, 0, 2), request(approved, is("InvalidRequest", cmmeta.ConditionTrue, 0, "BadCSR", "no such name")), []string{"refused as invalid: BadCSR: no such name"}, time.Hour},
		"failed":                    {failing(2, 30*time.Minute, 2), ago(30*time.Minute, request(approved, failed)), []string{"failed: Failed: the CA said no"}, 90 * time.Minute},
		"issued, but not accepted":  {failing(1, 0, 2), request(approved, issued), []string{"cert-manager refuses the result", "will be retried"}, time.Hour},
		"failed, certificate waits": {inProgress(), request(approved, failed), []string{"the CA said no"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := certs.JudgeIssuance(c.cert, []cmv1.CertificateRequest{c.request}, target, now)
			require.True(t, got.Denied, got.Message)
			require.False(t, got.Ready)
			for _, says := range c.says {
				require.Contains(t, got.Message, says)
			}
			if c.retryIn == 0 {
				require.Nil(t, got.RetryAt)
				return
			}
			require.Equal(t, now.Add(c.retryIn), *got.RetryAt)
			require.Contains(t, got.Message, "tries again at "+now.Add(c.retryIn).Format(time.RFC3339))
		})
	}
}

// A denial that does not speak of the issuance under way must not fail it.
func TestIssuanceIgnoresLingeringDenials(t *testing.T) {
	denial := func(change func(*cmv1.CertificateRequest)) cmv1.CertificateRequest {
		return changed(request(denied, notReady), change)
	}
	for name, c := range map[string]struct {
		cert    *cmv1.Certificate
		request cmv1.CertificateRequest
	}{
		"of an older revision": {inProgress(), denial(func(r *cmv1.CertificateRequest) { r.Annotations["cert-manager.io/certificate-revision"] = "1" })},
		"without a revision":   {inProgress(), denial(func(r *cmv1.CertificateRequest) { r.Annotations = nil })},
		"of another issuer":    {inProgress(), denial(func(r *cmv1.CertificateRequest) { r.Spec.IssuerRef.Name = "old-ca" })},
		"of another kind":      {inProgress(), denial(func(r *cmv1.CertificateRequest) { r.Spec.IssuerRef.Kind = "Issuer" })},
		"of another Certificate": {inProgress(), denial(func(r *cmv1.CertificateRequest) {
			r.OwnerReferences[0].UID = "other"
		})},
		"being deleted":                       {inProgress(), denial(func(r *cmv1.CertificateRequest) { r.DeletionTimestamp = at(0) })},
		"before a retry was asked for":        {inProgress(), ago(time.Hour, request(denied, notReady))},
		"failed before a retry":               {inProgress(), ago(time.Hour, request(approved, failed))},
		"before the spec changed":             {failing(1, time.Hour, 1), ago(time.Hour, request(denied, notReady))},
		"of another issuer, before the retry": {failing(3, time.Hour, 1), denial(func(r *cmv1.CertificateRequest) { r.Spec.IssuerRef.Name = "old-ca" })},
	} {
		t.Run(name, func(t *testing.T) {
			got := certs.JudgeIssuance(c.cert, []cmv1.CertificateRequest{c.request}, target, now)
			require.False(t, got.Denied, got.Message)
			require.False(t, got.Ready)
			require.Nil(t, got.RetryAt, "cert-manager does not wait here")
			require.NotEmpty(t, got.Message)
		})
	}
}

// A request that was deleted by hand leaves a Certificate that backs off with nothing to speak for it.
func TestIssuanceBackingOffWithoutARequest(t *testing.T) {
	got := certs.JudgeIssuance(failing(1, 10*time.Minute, 2), nil, target, now)
	require.False(t, got.Denied)
	require.Contains(t, got.Message, "was not issued: Denied: will be retried")
	require.Equal(t, now.Add(50*time.Minute), *got.RetryAt)
}

func TestIssuanceBackoff(t *testing.T) {
	for attempts, want := range map[int]time.Duration{
		-1: time.Hour, 0: time.Hour, 1: time.Hour, 2: 2 * time.Hour, 3: 4 * time.Hour, 6: 32 * time.Hour, 7: 32 * time.Hour, 1 << 40: 32 * time.Hour,
	} {
		got := certs.JudgeIssuance(failing(attempts, time.Minute, 2), nil, target, now)
		require.Equal(t, now.Add(want-time.Minute), *got.RetryAt, "%d attempts", attempts)
	}
	unset := failing(1, time.Minute, 2)
	unset.Status.FailedIssuanceAttempts = nil
	require.Equal(t, now.Add(59*time.Minute), *certs.JudgeIssuance(unset, nil, target, now).RetryAt)
	over := certs.JudgeIssuance(failing(1, 2*time.Hour, 2), nil, target, now)
	require.Nil(t, over.RetryAt, "the back-off is over")
}

// A message that changed with the time of day would be a status write at every pass.
func TestIssuanceMessagesAreStable(t *testing.T) {
	for _, cert := range []*cmv1.Certificate{failing(1, 0, 2), inProgress(), certificate()} {
		for _, requests := range [][]cmv1.CertificateRequest{nil, {request(denied)}, {request(approved, pending)}} {
			require.Equal(t, certs.JudgeIssuance(cert, requests, target, now).Message,
				certs.JudgeIssuance(cert, requests, target, now.Add(10*time.Minute)).Message)
		}
	}
}
