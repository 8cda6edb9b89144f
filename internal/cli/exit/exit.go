// Package exit is the one place where errors become exit codes.
package exit

import (
	"context"
	"errors"
	"fmt"
)

// Exit codes of seictl.
const (
	// OK: done, or nothing to change.
	OK = 0
	// Failure: an error.
	Failure = 1
	// Pending: changes are pending; with --detailed-exitcode only.
	Pending = 2
	// Paused: a node is paused.
	Paused = 3
	// Failed: a plan failed, is held or was rolled back, or a verification did not hold.
	Failed = 4
	// Stale: a saved plan does not fit any more.
	Stale = 5
	// LockHeld: another driver holds the lock.
	LockHeld = 6
	// Declined: somebody said no.
	Declined = 7
	// TimedOut: --timeout passed.
	TimedOut = 124
	// Interrupted: SIGINT or SIGTERM.
	Interrupted = 130
)

// Error is an error with an exit code.
type Error struct {
	Code int
	// Err is what to tell; nil when all was told.
	Err error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// With gives an error an exit code; nil stays nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// Errorf is With of a formatted error.
func Errorf(code int, format string, args ...any) error {
	return With(code, fmt.Errorf(format, args...))
}

// Silent ends with a code and says nothing more.
func Silent(code int) error {
	if code == OK {
		return nil
	}
	return &Error{Code: code}
}

// ErrInterrupted is the cause of a context that a signal cancelled.
var ErrInterrupted = errors.New("interrupted")

// ErrTimedOut is the cause of a context that --timeout ended.
var ErrTimedOut = errors.New("timed out")

// Code is the exit code of an error.
func Code(err error) int {
	var coded *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &coded):
		return coded.Code
	case errors.Is(err, ErrInterrupted):
		return Interrupted
	case errors.Is(err, ErrTimedOut), errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	}
	return Failure
}

// Message is what to tell of an error; empty when all was told.
func Message(err error) string {
	var coded *Error
	if err == nil || (errors.As(err, &coded) && coded.Err == nil) {
		return ""
	}
	return err.Error()
}
