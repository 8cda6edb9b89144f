package tasks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// session is a sidecar that answered: over which connection, and what it says of its health.
type session struct {
	*sidecar.Client
	health int
}

// openSidecar talks to the sidecar over the transport that currentSidecarTLS names, whatever the spec wishes, and asks for
// its health, so that the transport is proven before anything is posted. The caller closes the session.
//
// The stamped fingerprint is trusted first, as it costs no request; where another leaf is served by now, what the Secret
// holds decides.
func openSidecar(ctx context.Context, env *Env, node *v1alpha1.SeiNode, pod *corev1.Pod) (*session, error) {
	current := node.Status.CurrentSidecarTLS
	if current == nil {
		return dial(ctx, env, podTarget(pod, resources.SidecarPortOf(&pod.Spec)))
	}
	target := podTarget(pod, resources.PortProxy)
	target.TLS = &sidecar.TLSTarget{ServerName: serverName(env, node), FingerprintSHA256: current.FingerprintSHA256}
	var refused error
	if current.FingerprintSHA256 != "" {
		s, err := dial(ctx, env, target)
		if err == nil || !distrusted(err) {
			return s, err
		}
		refused = err
	}
	if err := trustSecret(ctx, env, node, target.TLS); err != nil {
		if refused != nil {
			err = fmt.Errorf("%w; %w", refused, err)
		}
		return nil, err
	}
	return dial(ctx, env, target)
}

// dial opens a client and proves it with a request that changes nothing.
func dial(ctx context.Context, env *Env, target sidecar.Target) (*session, error) {
	client := env.Sidecar.Open(target)
	health, err := client.Healthz(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &session{Client: client, health: health}, nil
}

// trustSecret adds what the running Secret holds to what is trusted.
func trustSecret(ctx context.Context, env *Env, node *v1alpha1.SeiNode, trust *sidecar.TLSTarget) error {
	tls := node.Status.CurrentSidecarTLS.Config()
	name := resources.SecretName(node.Name, tls)
	secret, err := readSecret(ctx, env, node.Namespace, name)
	if err != nil {
		return err
	}
	// Sound or not: what matters here is which certificate it holds, and the handshake checks name and validity.
	v := certs.Judge(secret, certs.Want{Namespace: node.Namespace, SecretName: name, TLS: *tls, AnySoundPair: true}, env.Now())
	trust.Leaf, trust.CAs = v.Leaf, v.CAs
	return nil
}

// distrusted says whether a connection failed because of the certificate alone.
func distrusted(err error) bool {
	if _, ok := errors.AsType[*sidecar.LeafMismatchError](err); ok {
		return true
	}
	_, ok := errors.AsType[*sidecar.UntrustedError](err)
	return ok
}

// serverName is the name that the certificate must be valid for: the first of the contract in the status.
func serverName(env *Env, node *v1alpha1.SeiNode) string {
	if c := node.Status.SidecarTLS; c != nil && len(c.RequiredDNSNames) > 0 {
		return c.RequiredDNSNames[0]
	}
	return certs.RequiredDNSNames(node.Name, node.Namespace, env.Settings.ClusterDomain)[0]
}

func podTarget(pod *corev1.Pod, port int32) sidecar.Target {
	return sidecar.Target{Namespace: pod.Namespace, PodName: pod.Name, PodIP: pod.Status.PodIP, Port: port}
}

// sidecarTrouble says why a call to the sidecar failed. An answer that waiting cannot change is a transient error, which
// the task's deadline ends; the rest is waited for.
func sidecarTrouble(env *Env, pod *corev1.Pod, err error) (Result, error) {
	name := pod.Namespace + "/" + pod.Name
	poll := wirePoll(env, pod, resources.ContainerSidecar)
	if s, ok := errors.AsType[*sidecar.StatusError](err); ok {
		switch s.Code {
		case http.StatusUnauthorized:
			return WaitPolling(servedPoll, "sidecar of pod %s answers 401: the token was refused. Does the pod's ServiceAccount have "+
				"the rights of ClusterRole system:auth-delegator (TokenReview), and does the proxy run with "+
				"--auth-token-audiences=%s and --auth-header-fields-enabled=true?", name, resources.TokenAudience), nil
		case http.StatusForbidden:
			return WaitPolling(servedPoll, "sidecar of pod %s answers 403: ServiceAccount %s/seictl-client may not use the node's "+
				"seinodetasks (apply the client's Role), or the proxy's config does not name them, or the pod's ServiceAccount "+
				"may not create SubjectAccessReviews", name, settings.Namespace), nil
		case http.StatusBadGateway, http.StatusGatewayTimeout:
			return WaitPolling(poll, "the proxy of pod %s answers %d: it does not reach the sidecar behind it", name, s.Code), nil
		}
		return Result{}, fmt.Errorf("sidecar of pod %s: %w", name, err)
	}
	if errors.Is(err, context.Canceled) {
		return Result{}, err
	}
	return WaitPolling(poll, "sidecar of pod %s cannot be reached: %s", name, stable(err)), nil
}

// wirePoll is how soon to try again what only the wire can tell: at once for a container that began a moment ago.
func wirePoll(env *Env, pod *corev1.Pod, container string) time.Duration {
	s := containerStatus(pod, container)
	if s != nil && s.State.Running != nil && env.Now().Sub(s.State.Running.StartedAt.Time) < freshTime {
		return freshPoll
	}
	return servedPoll
}

// ephemeral is the local side of a connection, whose port is another one each time.
var ephemeral = regexp.MustCompile(`(\[[0-9a-fA-F:]+\]|[0-9.]+):\d+->`)

// stable is an error in words that stay the same while the trouble does.
func stable(err error) string { return ephemeral.ReplaceAllString(err.Error(), "") }
