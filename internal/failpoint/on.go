//go:build failpoints

package failpoint

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Variable names the environment variable that arms a failpoint.
const Variable = "SEICTL_FAILPOINT"

var (
	armed, countdown = parse(os.Getenv(Variable))
	hits             atomic.Int64
)

// parse splits "name:N". A name may itself hold colons, so only a number at the end counts as one.
func parse(s string) (string, int64) {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		if n, err := strconv.ParseInt(s[i+1:], 10, 64); err == nil && n > 0 {
			return s[:i], n
		}
	}
	return s, 1
}

// StopVariable names the environment variable that has an armed failpoint stop the process instead: it goes on when it is
// sent SIGCONT, in a world that changed between two of its steps.
const StopVariable = "SEICTL_FAILPOINT_STOP"

// Hit kills the process with SIGKILL, as a crash would end it, when name is armed and this is its hit.
func Hit(name string) {
	if armed == "" || name != armed || hits.Add(1) != countdown {
		return
	}
	if os.Getenv(StopVariable) != "" {
		// To this very thread: it must not run on while the signal finds another one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := syscall.Tgkill(os.Getpid(), syscall.Gettid(), syscall.SIGSTOP); err != nil {
			panic(err)
		}
		return
	}
	// Nothing of this process runs on once the signal is delivered; until then nothing may.
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {}
}
