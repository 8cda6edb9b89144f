package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskWaitForSidecarTLSSecret,
		func(p *v1alpha1.TaskParams) *v1alpha1.TLSSecretParams { return p.TLSSecret }, waitForSidecarTLSSecret)
}

// waitForSidecarTLSSecret is the gate before everything that cycles a pod: a Secret that merely holds something is not
// enough, because on an issuer swap the old certificate sits there until the new one is issued. So the issuance is asked
// first, which costs no request, and only then the Secret.
func waitForSidecarTLSSecret(ctx context.Context, env *Env, in Input, p v1alpha1.TLSSecretParams) (Result, error) {
	issued := p.TLS.IssuerName != "" && !p.AnySoundPair
	hint := ""
	if issued {
		state, err := readIssuance(ctx, env, in, p)
		if err != nil {
			return Result{}, err
		}
		hint = state.rivals
		switch {
		case state.behind:
			return Wait("the Certificate that was applied is not seen yet"), nil
		case state.issuance.Denied:
			return Result{}, Terminalf("%s%s", state.issuance.Message, hint)
		case !state.issuance.Ready:
			return Wait("%s%s", state.issuance.Message, hint), nil
		}
	}
	// What is issued is judged once more, live, before a pod is deleted for it.
	verdict, err := judgedSecret(ctx, env, in, p)
	if err != nil {
		return Result{}, err
	}
	if !verdict.Ready {
		if issued && verdict.Reason == v1alpha1.ReasonTLSSecretIssuerMismatch {
			hint += fmt.Sprintf("; the Certificate is Ready all the same, so cert-manager took over a Secret that was there "+
				"before: delete Secret %s/%s to have it issued anew (a pod that runs keeps its copy)", in.Node.Namespace, p.SecretName)
		}
		return Wait("%s%s", verdict.Message, hint), nil
	}
	notAfter := metav1.NewTime(verdict.NotAfter)
	return Completed(&v1alpha1.TaskOutput{FingerprintSHA256: verdict.FingerprintSHA256, NotAfter: &notAfter}), nil
}

// issuanceState is what the cache knows of the issuance of a Secret.
type issuanceState struct {
	issuance certs.Issuance
	// behind says that the cache has not seen yet what apply-sidecar-cert applied: it may say Ready of the old spec.
	behind bool
	// rivals says which other Certificates write to the same Secret, as an appendix to a message.
	rivals string
}

func readIssuance(ctx context.Context, env *Env, in Input, p v1alpha1.TLSSecretParams) (issuanceState, error) {
	list := &cmv1.CertificateList{}
	if err := env.Client.List(ctx, list, client.InNamespace(in.Node.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return issuanceState{}, listError("Certificates", err, in.Node)
	}
	name := resources.CertificateName(in.Node.Name)
	var cert *cmv1.Certificate
	var rivals []string
	for i := range list.Items {
		switch c := &list.Items[i]; {
		case c.Name == name:
			cert = c
		case c.Spec.SecretName == p.SecretName:
			rivals = append(rivals, c.Name)
		}
	}
	state := issuanceState{}
	if len(rivals) > 0 {
		slices.Sort(rivals)
		state.rivals = fmt.Sprintf("; Certificate %s in namespace %s names the same Secret %s, and cert-manager issues for one "+
			"of them only: delete it or give it another Secret", strings.Join(rivals, ", "), in.Node.Namespace, p.SecretName)
	}
	if applied := in.Plan.Task(v1alpha1.TaskApplySidecarCert); applied != nil && applied.Output != nil {
		state.behind = cert != nil && cert.Generation < applied.Output.Generation
	}
	requests, err := requestsOf(ctx, env, in, cert)
	if err != nil {
		return issuanceState{}, err
	}
	state.issuance = certs.JudgeIssuance(cert, requests, p.TLS, env.Now())
	return state, nil
}

// requestsOf are the CertificateRequests of a Certificate.
func requestsOf(ctx context.Context, env *Env, in Input, cert *cmv1.Certificate) ([]cmv1.CertificateRequest, error) {
	if cert == nil {
		return nil, nil
	}
	list := &cmv1.CertificateRequestList{}
	if err := env.Client.List(ctx, list, client.InNamespace(in.Node.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, listError("CertificateRequests", err, in.Node)
	}
	return slices.DeleteFunc(list.Items, func(r cmv1.CertificateRequest) bool {
		return !metav1.IsControlledBy(&r, cert)
	}), nil
}

func listError(what string, err error, node *v1alpha1.SeiNode) error {
	err = fmt.Errorf("listing %s in namespace %s: %w", what, node.Namespace, err)
	if meta.IsNoMatchError(err) {
		return noMatch(err, node)
	}
	return err
}
