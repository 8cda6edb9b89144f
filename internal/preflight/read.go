package preflight

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
)

// State says how a read went.
type State int

// States of a read.
const (
	// Unasked: nobody needed to know.
	Unasked State = iota
	// Found: Value holds.
	Found
	// Absent: there is no such object, or no such kind.
	Absent
	// Denied: the caller may not look.
	Denied
	// Broken: the read failed, or what was read makes no sense.
	Broken
)

// Read is one read of the cluster.
type Read[T any] struct {
	State State
	Value T
	Err   error
}

func found[T any](v T) Read[T] { return Read[T]{State: Found, Value: v} }

// readOf is a value and how its read went; after an error the value says what was asked for.
func readOf[T any](v T, err error) Read[T] {
	switch {
	case err == nil:
		return found(v)
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return Read[T]{State: Absent, Value: v, Err: err}
	case apierrors.IsForbidden(err):
		return Read[T]{State: Denied, Value: v, Err: err}
	}
	return Read[T]{State: Broken, Value: v, Err: err}
}

// cannotTell is the line of a check whose read was denied or failed.
func cannotTell(what string, err error) Line {
	return skipped(fmt.Sprintf("cannot tell: %s: %s", what, short(err)))
}

// short is an error without what the API server puts before it.
func short(err error) string {
	if err == nil {
		return "unknown"
	}
	text := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		text = status.Status().Message
	}
	if _, after, ok := strings.Cut(text, "is forbidden: "); ok {
		return after
	}
	return text
}
