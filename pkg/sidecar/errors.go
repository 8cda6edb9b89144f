package sidecar

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

var (
	// ErrNotTLS says that a peer answered a TLS handshake with something else, or hung up on it. A proxy that is being
	// restarted hangs up too: it is what is there now, not what will be.
	ErrNotTLS = errors.New("peer does not speak TLS")
	// ErrPortClosed says that the pod refused the connection: nothing listens on the port.
	ErrPortClosed = errors.New("port is closed")
	// ErrBodyTooLarge says that a response was longer than a sidecar's answer can be.
	ErrBodyTooLarge = errors.New("response body is larger than 64 KiB")
)

// LeafMismatchError says that a peer serves another certificate than the one that was asked for.
type LeafMismatchError struct {
	// Served and Wanted are fingerprints: lower-case hex SHA-256.
	Served, Wanted string
	// ServedNotAfter is when the served certificate expires.
	ServedNotAfter time.Time
	// Err is why the served certificate is not trusted; nil where it chains to a trusted CA, yet is not the wanted one.
	Err error
}

func (e *LeafMismatchError) Error() string {
	msg := fmt.Sprintf("served certificate is %s (expires %s), wanted %s",
		e.Served, e.ServedNotAfter.UTC().Format(time.RFC3339), e.Wanted)
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *LeafMismatchError) Unwrap() error { return e.Err }

// UntrustedError says that the served certificate is not trusted for any reason but being another leaf: expired, wrong
// name, a chain that does not reach the CAs.
type UntrustedError struct {
	// Served is the fingerprint of the served certificate and ServedNotAfter its expiry.
	Served         string
	ServedNotAfter time.Time
	// ServerName is the required name.
	ServerName string
	// Err is the verifier's own error.
	Err error
}

func (e *UntrustedError) Error() string {
	return fmt.Sprintf("served certificate %s (expires %s) is not trusted for %s: %v",
		e.Served, e.ServedNotAfter.UTC().Format(time.RFC3339), e.ServerName, e.Err)
}

func (e *UntrustedError) Unwrap() error { return e.Err }

// StatusError is an HTTP answer other than the expected one.
type StatusError struct {
	// Code is the HTTP status.
	Code int
	// Message is the sidecar's own word, when it sent one.
	Message string
	// Method and Path of the request.
	Method, Path string
}

func (e *StatusError) Error() string {
	msg := fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Code, http.StatusText(e.Code))
	if e.Message != "" {
		msg += ": " + e.Message
	}
	return msg
}

// IsNotFound says whether an error is a 404 of the sidecar: an unknown task, say.
func IsNotFound(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == http.StatusNotFound
}

// callError is a request that got no answer.
type callError struct {
	method, path, target string
	// sent is true once the request was handed to a connection: from then on the peer may have it.
	sent bool
	err  error
}

func (e *callError) Error() string {
	return fmt.Sprintf("%s %s on %s: %v", e.method, e.path, e.target, e.err)
}

func (e *callError) Unwrap() error { return e.err }

// DeliveryUnknown says whether a POST that failed may nevertheless have reached the sidecar: the request was handed to a
// verified connection and no answer came back, or the proxy in front of the sidecar answered 502 or 504, which it does when
// it lost the sidecar after it may have passed the request on. It is false where the peer refused the request, and where
// dial, token or handshake failed.
func DeliveryUnknown(err error) bool {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.Method == http.MethodPost && (s.Code == http.StatusBadGateway || s.Code == http.StatusGatewayTimeout)
	}
	if errors.Is(err, ErrPortClosed) { // a port-forward learns it only after it took the request
		return false
	}
	c, ok := errors.AsType[*callError](err)
	return ok && c.sent && c.method == http.MethodPost
}
