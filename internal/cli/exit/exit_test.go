package exit

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCode(t *testing.T) {
	for _, c := range []struct {
		err     error
		code    int
		message string
	}{
		{nil, 0, ""},
		{errors.New("x"), 1, "x"},
		{Silent(OK), 0, ""},
		{Silent(Pending), 2, ""},
		{Errorf(Paused, "paused"), 3, "paused"},
		{fmt.Errorf("doing: %w", With(Failed, errors.New("x"))), 4, "doing: x"},
		{Errorf(Stale, "s"), 5, "s"},
		{Errorf(LockHeld, "l"), 6, "l"},
		{Errorf(Declined, "d"), 7, "d"},
		{fmt.Errorf("x: %w", ErrTimedOut), 124, "x: timed out"},
		{context.DeadlineExceeded, 124, "context deadline exceeded"},
		{ErrInterrupted, 130, "interrupted"},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			require.Equal(t, c.code, Code(c.err))
			require.Equal(t, c.message, Message(c.err))
		})
	}
}
