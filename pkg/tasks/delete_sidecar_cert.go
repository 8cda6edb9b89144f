package tasks

import (
	"context"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

func init() {
	register(v1alpha1.TaskDeleteSidecarCert,
		func(p *v1alpha1.TaskParams) *v1alpha1.SidecarCertParams { return p.SidecarCert }, deleteSidecarCert)
}

// deleteSidecarCert deletes the Certificate of this node and the Secret that was issued for it. cert-manager leaves the
// Secret behind, and a leftover could pass for a fresh one when TLS is turned on again. The Certificate goes first, or
// cert-manager would issue the Secret anew.
func deleteSidecarCert(ctx context.Context, env *Env, in Input, p v1alpha1.SidecarCertParams) (Result, error) {
	namespace := in.Node.Namespace
	cert, err := get(ctx, env.Live, namespace, p.Name, &cmv1.Certificate{})
	if err != nil && !meta.IsNoMatchError(err) {
		return Result{}, err
	}
	if cert != nil && !metav1.IsControlledBy(cert, in.Node) {
		return Completed(nil), nil // somebody else's, and so is its Secret
	}
	by, err := mountedBy(ctx, env, in, ofSecret(p.Name))
	if err != nil {
		return Result{}, err
	}
	if by != "" {
		return Wait("%s still mounts Secret %s", by, p.Name), nil
	}
	if cert != nil {
		if cert.DeletionTimestamp == nil {
			if err := deleteExact(ctx, env, in, "Certificate", cert); err != nil {
				return Result{}, err
			}
		}
		if len(cert.Finalizers) > 0 {
			return WaitPolling(collectorPoll, "Certificate %s/%s is being deleted", namespace, p.Name), nil
		}
	}
	return deleteIssuedSecret(ctx, env, in, p.Name)
}

// deleteIssuedSecret deletes the Secret of our Certificate: one that cert-manager wrote for it, and that nobody else uses.
func deleteIssuedSecret(ctx context.Context, env *Env, in Input, name string) (Result, error) {
	secret, err := readSecret(ctx, env, in.Node.Namespace, name)
	if err != nil {
		return Result{}, err
	}
	if secret == nil || !issuedFor(secret, name) {
		return Completed(nil), nil
	}
	used, err := usedElsewhere(ctx, env, in, name)
	if err != nil {
		return Result{}, err
	}
	if used {
		return Completed(nil), nil
	}
	if err := deleteExact(ctx, env, in, "Secret", secret); err != nil {
		return Result{}, err
	}
	return Completed(nil), nil
}

// issuedFor says whether cert-manager wrote a Secret for the Certificate of a name.
func issuedFor(secret *corev1.Secret, certificate string) bool {
	if name, ok := secret.Annotations[cmv1.CertificateNameKey]; ok {
		return name == certificate
	}
	return secret.Labels[cmv1.PartOfCertManagerControllerLabelKey] == "true"
}

// usedElsewhere says whether another Certificate writes to the Secret, or another node is told to mount it.
func usedElsewhere(ctx context.Context, env *Env, in Input, name string) (bool, error) {
	certificates := &cmv1.CertificateList{}
	err := env.Client.List(ctx, certificates, client.InNamespace(in.Node.Namespace), client.UnsafeDisableDeepCopy)
	if err != nil && !meta.IsNoMatchError(err) {
		return false, listError("Certificates", err, in.Node)
	}
	for _, c := range certificates.Items {
		if c.Name != name && c.Spec.SecretName == name {
			return true, nil
		}
	}
	nodes := &v1alpha1.SeiNodeList{}
	if err := env.Client.List(ctx, nodes, client.InNamespace(in.Node.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return false, listError("SeiNodes", err, in.Node)
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if tls := n.SidecarTLS(); n.UID != in.Node.UID && tls != nil && tls.SecretName == name {
			return true, nil
		}
	}
	return false, nil
}
