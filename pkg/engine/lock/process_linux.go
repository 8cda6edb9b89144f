package lock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// lookUp reads from /proc whether a process is there and when it started, in clock ticks since boot. A zombie is gone: it
// runs no code any more. An error means that it is not known.
func lookUp(pid int) (start uint64, alive bool, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		// With hidepid the processes of others are not there either; a signal of nothing tells.
		if kill := syscall.Kill(pid, 0); !errors.Is(kill, syscall.ESRCH) {
			return 0, false, fmt.Errorf("process %d: not in /proc, yet not gone: %w", pid, err)
		}
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("process %d: %w", pid, err)
	}
	// The command, in parentheses, may hold spaces and parentheses itself: the fields count from the last one.
	_, rest, found := cutLast(string(stat), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return 0, false, fmt.Errorf("process %d: cannot read its stat", pid)
	}
	state := fields[0] // field 3 of stat; the start time is field 22
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return start, state != "Z" && state != "X", nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
