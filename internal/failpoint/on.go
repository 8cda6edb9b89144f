//go:build failpoints

package failpoint

import (
	"os"
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

// Hit kills the process with SIGKILL, as a crash would end it, when name is armed and this is its hit.
func Hit(name string) {
	if armed == "" || name != armed || hits.Add(1) != countdown {
		return
	}
	// Nothing of this process runs on once the signal is delivered; until then nothing may.
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {}
}
