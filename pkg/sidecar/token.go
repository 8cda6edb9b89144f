package sidecar

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Identity that calls to sidecars are made with, whoever drives.
const (
	// TokenNamespace and TokenServiceAccount name the ServiceAccount.
	TokenNamespace      = "sei-system"
	TokenServiceAccount = "seictl-client"
	// TokenAudience is what kube-rbac-proxy is told to accept: the token is of no use against the API server.
	TokenAudience = "sei-sidecar"
	// TokenLifetime is the shortest that the TokenRequest API grants.
	TokenLifetime = 10 * time.Minute
)

// TokenRequests gets tokens from the TokenRequest API and keeps one for 80 % of the life it was granted, measured here
// from before the request: no clock of another machine comes into it.
func TokenRequests(c kubernetes.Interface) TokenSource {
	return &tokenRequests{client: c, now: time.Now, turn: make(chan struct{}, 1)}
}

type tokenRequests struct {
	client kubernetes.Interface
	now    func() time.Time
	// turn lets one caller ask at a time; the others find its token, or give up with their context.
	turn chan struct{}

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

// Token returns the kept token or asks for one.
func (r *tokenRequests) Token(ctx context.Context) (string, error) {
	if token, ok := r.kept(); ok {
		return token, nil
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if token, ok := r.kept(); ok {
		return token, nil
	}
	return r.request(ctx)
}

// Invalidate forgets the kept token: a peer refused it.
func (r *tokenRequests) Invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = ""
}

func (r *tokenRequests) kept() (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.token, r.token != "" && r.now().Before(r.renewAt)
}

func (r *tokenRequests) request(ctx context.Context) (string, error) {
	asked := r.now()
	seconds := int64(TokenLifetime / time.Second)
	got, err := r.client.CoreV1().ServiceAccounts(TokenNamespace).CreateToken(ctx, TokenServiceAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{TokenAudience}, ExpirationSeconds: &seconds,
		}}, metav1.CreateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("ServiceAccount %s/%s not found: run 'seictl install base --apply': %w",
			TokenNamespace, TokenServiceAccount, err)
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("requesting a token needs 'create' on serviceaccounts/token of %s/%s: %w",
			TokenNamespace, TokenServiceAccount, err)
	case err != nil:
		return "", fmt.Errorf("requesting a token for ServiceAccount %s/%s: %w", TokenNamespace, TokenServiceAccount, err)
	case got.Status.Token == "":
		return "", fmt.Errorf("requesting a token for ServiceAccount %s/%s: the answer has none",
			TokenNamespace, TokenServiceAccount)
	}
	if got.Spec.ExpirationSeconds != nil && *got.Spec.ExpirationSeconds > 0 {
		seconds = *got.Spec.ExpirationSeconds
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = got.Status.Token
	r.renewAt = asked.Add(time.Duration(seconds) * time.Second * 8 / 10)
	return r.token, nil
}
