package rbacproxy

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// reviewTimeout bounds one TokenReview, so that a slow API server does not hold a caller for ever.
const reviewTimeout = 10 * time.Second

// reviewers ask the API server who a caller is and what it may do. Making them talks to nobody, so the proxy starts
// while the API server is slow or away.
func reviewers(config *rest.Config, o *options) (authenticator.Request, authorizer.Authorizer, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("making the client: %w", err)
	}
	// A review that fails on the server's side is asked again for about six seconds.
	backoff := &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	authn, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient:  client.AuthenticationV1(),
		TokenAccessReviewTimeout: reviewTimeout,
		WebhookRetryBackoff:      backoff,
		CacheTTL:                 o.ttl.token,
		APIAudiences:             o.audiences,
	}.New()
	if err != nil {
		return nil, nil, fmt.Errorf("making the authenticator: %w", err)
	}
	authz, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             o.ttl.allow,
		DenyCacheTTL:              o.ttl.deny,
		WebhookRetryBackoff:       backoff,
	}.New()
	if err != nil {
		return nil, nil, fmt.Errorf("making the authorizer: %w", err)
	}
	return authn, authz, nil
}
