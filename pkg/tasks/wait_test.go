package tasks

import (
	"context"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

// testCertificate is the node's Certificate at generation 2, with its Ready condition at a generation.
func testCertificate(env *Env, ready cmmeta.ConditionStatus, observed int64) *cmv1.Certificate {
	c := resources.Certificate(resources.OwnerOf(testNode()), resources.SidecarCertParamsFor(testNode(), issuerTLS, env.Settings))
	c.UID, c.Generation = "cert-uid", 2
	c.Status.Conditions = []cmv1.CertificateCondition{{
		Type: cmv1.CertificateConditionReady, Status: ready, ObservedGeneration: observed, Reason: "IncorrectIssuer", Message: "says cert-manager",
	}}
	return c
}

func testRequest(cert *cmv1.Certificate, reason, message string) *cmv1.CertificateRequest {
	r := &cmv1.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: testNamespace, Name: "alpha-1",
			Annotations:     map[string]string{cmv1.CertificateRequestRevisionAnnotationKey: "1", cmv1.CertificateNameKey: cert.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cert, cmv1.SchemeGroupVersion.WithKind("Certificate"))},
		},
		Spec: cmv1.CertificateRequestSpec{IssuerRef: cert.Spec.IssuerRef},
	}
	r.Status.Conditions = []cmv1.CertificateRequestCondition{{
		Type: cmv1.CertificateRequestConditionReady, Status: cmmeta.ConditionFalse, Reason: reason, Message: message,
	}}
	return r
}

func waitInput(env *Env, tls *v1alpha1.SidecarTLSConfig, generation int64) Input {
	p := resources.TLSSecretParamsFor(testNode(), tls, env.Settings)
	return input(v1alpha1.TaskWaitForSidecarTLSSecret, v1alpha1.TaskParams{TLSSecret: &p},
		applied(v1alpha1.TaskApplySidecarCert, generation))
}

func TestWaitForSidecarTLSSecret(t *testing.T) {
	env := newEnv(t)
	pair := newAuthority(t, "ca").issue(t, testDNSNames...)
	good := pair.secret(issuerTLS)
	unannotated := pair.secret(issuerTLS)
	unannotated.Annotations = nil
	oldIssuer := pair.secret(&v1alpha1.SidecarTLSConfig{IssuerName: "old-ca", IssuerKind: "ClusterIssuer"})
	ready := testCertificate(env, cmmeta.ConditionTrue, 2)
	notReady := testCertificate(env, cmmeta.ConditionFalse, 2)
	rival := testCertificate(env, cmmeta.ConditionTrue, 2)
	rival.Name, rival.UID = "rival", "rival-uid"

	for name, c := range map[string]struct {
		objs       []client.Object
		tls        *v1alpha1.SidecarTLSConfig
		generation int64
		anySound   bool
		message    string
		terminal   string
		secretRead bool
	}{
		"issued": {objs: []client.Object{ready, good}, secretRead: true},
		"swap: old pair is there and Ready is of the old generation": {
			objs: []client.Object{testCertificate(env, cmmeta.ConditionTrue, 1), good}, message: "cert-manager has seen 1"},
		"swap: cache has not seen the applied Certificate": {
			objs: []client.Object{ready, good}, generation: 3, message: "the Certificate that was applied is not seen yet"},
		"swap: old pair with the right state of the Certificate": {
			objs: []client.Object{ready, oldIssuer}, message: "old-ca", secretRead: true},
		"not Ready":      {objs: []client.Object{notReady, good}, message: "IncorrectIssuer: says cert-manager"},
		"no Certificate": {objs: []client.Object{good}, message: "does not exist"},
		"missing issuer": {objs: []client.Object{notReady, testRequest(notReady, "Pending", `Referenced "sei-ca" not found`)},
			message: `Referenced "sei-ca" not found`},
		"denied":                 {objs: []client.Object{notReady, testRequest(notReady, "Denied", "policy says no")}, terminal: "policy says no"},
		"no Secret though Ready": {objs: []client.Object{ready}, message: "alpha-sidecar-tls", secretRead: true},
		"un-annotated Secret was adopted": {objs: []client.Object{ready, unannotated}, secretRead: true,
			message: "cert-manager took over a Secret that was there before: delete Secret chain/alpha-sidecar-tls"},
		"two Certificates on one Secret": {objs: []client.Object{notReady, rival},
			message: "Certificate rival in namespace chain names the same Secret alpha-sidecar-tls"},
		"rollback takes any sound pair": {objs: []client.Object{notReady, oldIssuer}, anySound: true, secretRead: true},
		"provisioned":                   {objs: []client.Object{pair.secret(secretTLS)}, tls: secretTLS, secretRead: true},
		"provisioned is missing":        {tls: secretTLS, message: "chain/provisioned", secretRead: true},
	} {
		t.Run(name, func(t *testing.T) {
			counts := map[string]int{}
			env := atWallTime(newEnv(t, c.objs...))
			env.Live = fakeClient(t, counting(counts), c.objs...)
			tls := issuerTLS
			if c.tls != nil {
				tls = c.tls
			}
			in := waitInput(env, tls, c.generation)
			in.Task.Params.TLSSecret.AnySoundPair = c.anySound
			r, err := Run(t.Context(), env, in)
			switch {
			case c.terminal != "":
				require.True(t, IsTerminal(err))
				require.ErrorContains(t, err, c.terminal)
			case c.message != "":
				requireWaits(t, r, err, c.message)
				require.Zero(t, r.RequeueAfter, "watches tell")
			default:
				require.NoError(t, err)
				require.Equal(t, Done, r.Phase, r.Message)
			}
			want := map[string]int{}
			if c.secretRead {
				want["get"] = 1
			}
			require.Equal(t, want, counts)
		})
	}
}

func TestWaitCallsADeniedReadUnavailable(t *testing.T) {
	env := newEnv(t)
	env = envOf(fakeClient(t, denySecrets(), testCertificate(env, cmmeta.ConditionTrue, 2)))
	_, err := Run(t.Context(), env, waitInput(env, issuerTLS, 2))
	require.False(t, IsTerminal(err))
	require.ErrorContains(t, err, "TLSSecretUnavailable")
	require.NotContains(t, err.Error(), "NotFound")
}

func TestWaitWithoutCertManager(t *testing.T) {
	missing := &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "cert-manager.io", Kind: "Certificate"}}
	env := envOf(fakeClient(t, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return missing },
	}))
	_, err := Run(t.Context(), env, waitInput(env, issuerTLS, 2))
	require.True(t, IsTerminal(err))
	require.ErrorContains(t, err, "cert-manager is not installed")
}

func TestWaitForSidecarTLSSecretReadsAJudgedSecretOnce(t *testing.T) {
	counts := map[string]int{}
	env := envOf(fakeClient(t, counting(counts)))
	verdict := certs.Verdict{Ready: true, FingerprintSHA256: "f"}
	known := true
	env.Judged = func(_ context.Context, want certs.Want) (certs.Verdict, bool) {
		require.Equal(t, want.SecretName, resources.SecretName("alpha", secretTLS))
		require.NotEmpty(t, want.DNSNames)
		return verdict, known
	}
	r, err := Run(t.Context(), env, waitInput(env, secretTLS, 0))
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase)
	require.Equal(t, "f", r.Output.FingerprintSHA256)
	require.Zero(t, counts["get"])
	verdict = certs.Verdict{Message: "it expired"}
	r, err = Run(t.Context(), env, waitInput(env, secretTLS, 0))
	require.NoError(t, err)
	require.Equal(t, "it expired", r.Message)
	known = false
	r, err = Run(t.Context(), env, waitInput(env, secretTLS, 0))
	require.NoError(t, err)
	require.Equal(t, Waiting, r.Phase)
	require.Equal(t, 1, counts["get"], "what is not known is read")
}
