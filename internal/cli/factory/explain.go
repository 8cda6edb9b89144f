package factory

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"sei.io/seictl/internal/cli/exit"
)

// Explain turns an error of a call into one line that names verb, object, what was found and the next command.
func (c *Cluster) Explain(err error, verb, resource, namespace, name string) error {
	what := verb + " " + resource
	if name != "" {
		what += " " + name
	}
	if namespace != "" {
		what += " in namespace " + namespace
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exit.ErrInterrupted), errors.Is(err, exit.ErrTimedOut), errors.Is(err, context.Canceled):
		return err
	case NoSuchKind(err) && IsSei(resource):
		return fmt.Errorf("%s: the cluster at %s has no CRD for %s.sei.io; next: seictl install base --apply", what, c.Host, resource)
	case NoSuchKind(err):
		return fmt.Errorf("%s: the cluster at %s does not know %s; next: install what provides them (%w)", what, c.Host, resource, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: not allowed: %s; next: ask for the ClusterRole seictl-driver in that namespace "+
			"(kubectl create rolebinding seictl-driver --clusterrole=seictl-driver --user=… -n %s)",
			what, forbidden(err), orDefault(namespace, "NAMESPACE"))
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: the cluster at %s does not accept the credentials of this context; next: log in again, or choose another --context",
			what, c.Host)
	case unreachable(err):
		return &NoClusterError{Reason: fmt.Sprintf("%s does not answer (%s)", c.Host, innermost(err))}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// IsSei says whether a resource is one of ours.
func IsSei(resource string) bool { return strings.HasPrefix(resource, "seinode") }

// NoSuchKind says whether the cluster does not know a kind at all.
func NoSuchKind(err error) bool {
	if meta.IsNoMatchError(err) {
		return true
	}
	// Without discovery in between, the API server says 404 with no object named.
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsNotFound(err) {
		return false
	}
	d := status.Status().Details
	return d == nil || d.Name == ""
}

// forbidden is the API server's own sentence, which names user, verb and resource.
func forbidden(err error) string {
	text := err.Error()
	if _, after, ok := strings.Cut(text, "is forbidden: "); ok {
		return after
	}
	return text
}

// unreachable says whether a request never got an answer of the API server.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return apierrors.IsServiceUnavailable(err)
	}
	var (
		netErr  net.Error
		urlErr  *url.Error
		unknown x509.UnknownAuthorityError
	)
	return errors.As(err, &urlErr) || errors.As(err, &netErr) || errors.As(err, &unknown) ||
		errors.Is(err, context.DeadlineExceeded)
}

// Unreachable says whether an error is that of a cluster that is not there.
func Unreachable(err error) bool {
	var none *NoClusterError
	return errors.As(err, &none) || unreachable(err)
}

func innermost(err error) string {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err.Error()
	}
	return err.Error()
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
