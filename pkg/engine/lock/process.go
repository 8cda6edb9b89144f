package lock

import (
	"crypto/rand"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// Self is this process as a holder. An operator's pod is its POD_NAME, or else its host name, which is the pod's name.
func Self(kind string) Holder {
	h := Holder{Kind: kind, PID: os.Getpid()}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if kind == KindOperator {
		if h.Pod = os.Getenv("POD_NAME"); h.Pod == "" {
			h.Pod = host
		}
	} else {
		h.User, h.Host = clean(userName()), clean(host)
	}
	h.BootID, h.PIDNamespace, h.StartTime = processFacts(h.PID)
	if h.BootID == "" {
		h.Nonce = rand.Text()[:8] // user, host name and pid alone may be those of another machine
	}
	return h
}

// clean keeps the separators of an identity out of a name.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == '#' || r == '\\' || r < ' ' {
			return '_'
		}
		return r
	}, name)
}

func userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid" + strconv.Itoa(os.Getuid())
}

// processFacts tells this process from all others. All are empty unless all are known: half of them prove nothing.
func processFacts(pid int) (bootID, pidNamespace string, start uint64) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", 0
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", "", 0
	}
	start, alive, err := lookUp(pid)
	if err != nil || !alive {
		return "", "", 0
	}
	// The link reads pid:[4026531836].
	namespace = strings.TrimSuffix(strings.TrimPrefix(namespace, "pid:["), "]")
	return strings.TrimSpace(string(boot)), namespace, start
}
