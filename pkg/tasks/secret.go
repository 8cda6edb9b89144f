package tasks

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

// readSecret reads a Secret from the API server, as the cache holds metadata only. Nil without an error means that there
// is none; an error is never absence.
func readSecret(ctx context.Context, env *Env, namespace, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := env.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading Secret %s/%s: %w", namespace, name, err)
	}
	return secret, nil
}

// judgeSecret reads the Secret and judges it. An error says that it is Unavailable.
func judgeSecret(ctx context.Context, env *Env, in Input, p v1alpha1.TLSSecretParams) (certs.Verdict, error) {
	secret, err := readSecret(ctx, env, in.Node.Namespace, p.SecretName)
	if err != nil {
		v := certs.Unavailable(err)
		return v, fmt.Errorf("%s: %w", v.Reason, &unavailable{message: v.Message, err: err})
	}
	return certs.Judge(secret, resources.WantOf(in.Node.Namespace, p), env.Now()), nil
}

// judgedSecret is judgeSecret where nothing irreversible follows: a version of the Secret that was judged already is not read
// again. The Secret's metadata are watched, so that a new version is known at once.
func judgedSecret(ctx context.Context, env *Env, in Input, p v1alpha1.TLSSecretParams) (certs.Verdict, error) {
	if env.Judged != nil {
		if v, ok := env.Judged(ctx, resources.WantOf(in.Node.Namespace, p)); ok {
			return v, nil
		}
	}
	return judgeSecret(ctx, env, in, p)
}

// unavailable is a Secret that could not be read, in the words of the verdict.
type unavailable struct {
	message string
	err     error
}

func (e *unavailable) Error() string { return e.message }
func (e *unavailable) Unwrap() error { return e.err }
