// Package lock lets one driver run the engine at a time: it holds the Lease sei-system/seictl-engine, which is the
// operator's leader election too. It follows client-go's rule, that a holder is gone when its record did not change for a
// whole LeaseDuration as measured here, with one exception: a holder on this machine whose process is gone is gone at once.
package lock

import (
	"fmt"
	"strconv"
	"strings"
)

// Kinds of drivers.
const (
	KindOperator = "operator"
	KindCLI      = "cli"
)

// Holder is a driver, as the Lease's holderIdentity names it:
//
//	operator/<pod>#boot=…,pidns=…,pid=…,start=…
//	cli/<user>@<host>/<pid>#boot=…,pidns=…,start=…
//
// What follows the # tells one process from all others; it is left out where it is not known.
type Holder struct {
	// Kind is KindOperator or KindCLI; anything else is kept whole in Raw.
	Kind string
	// User and Host of a CLI; Pod of an operator.
	User, Host, Pod string
	// PID of the process in its PID namespace.
	PID int
	// BootID of the machine's kernel, PIDNamespace of the process, and StartTime of the process in clock ticks since boot
	// (field 22 of /proc/<pid>/stat). Empty where there is no /proc; such a holder is never taken over early.
	BootID, PIDNamespace string
	StartTime            uint64
	// Nonce stands in for them, so that two such holders never have one identity.
	Nonce string
	// Raw is the identity of a holder that this package did not write.
	Raw string
}

// String is the holder's identity.
func (h Holder) String() string {
	var name string
	var facts []string
	switch h.Kind {
	case KindOperator:
		name = "operator/" + h.Pod
		if h.PID != 0 {
			facts = append(facts, "pid="+strconv.Itoa(h.PID))
		}
	case KindCLI:
		name = "cli/" + h.User + "@" + h.Host + "/" + strconv.Itoa(h.PID)
	default:
		return h.Raw
	}
	if h.StartTime != 0 {
		facts = append(facts, "start="+strconv.FormatUint(h.StartTime, 10))
	}
	if h.Nonce != "" {
		facts = append(facts, "nonce="+h.Nonce)
	}
	if h.PIDNamespace != "" {
		facts = append([]string{"pidns=" + h.PIDNamespace}, facts...)
	}
	if h.BootID != "" {
		facts = append([]string{"boot=" + h.BootID}, facts...)
	}
	if len(facts) == 0 {
		return name
	}
	return name + "#" + strings.Join(facts, ",")
}

// ParseHolder reads an identity. One that this package did not write is a Holder with only Raw set: somebody holds the
// Lease, whoever that is.
func ParseHolder(identity string) Holder {
	name, facts, _ := strings.Cut(identity, "#")
	kind, rest, _ := strings.Cut(name, "/")
	h := Holder{Kind: kind}
	switch kind {
	case KindOperator:
		h.Pod = rest
	case KindCLI:
		slash := strings.LastIndex(rest, "/")
		pid, err := strconv.Atoi(rest[slash+1:])
		if slash < 0 || err != nil || pid <= 0 {
			return Holder{Raw: identity}
		}
		h.PID = pid
		at := strings.LastIndex(rest[:slash], "@") // a user name may hold one
		if at < 0 {
			return Holder{Raw: identity}
		}
		h.User, h.Host = rest[:at], rest[at+1:slash]
	default:
		return Holder{Raw: identity}
	}
	h.readFacts(facts)
	return h
}

// readFacts ignores what it does not understand: another version may say more.
func (h *Holder) readFacts(facts string) {
	for fact := range strings.SplitSeq(facts, ",") {
		key, value, _ := strings.Cut(fact, "=")
		switch key {
		case "boot":
			h.BootID = value
		case "pidns":
			h.PIDNamespace = value
		case "nonce":
			h.Nonce = value
		case "pid":
			if pid, err := strconv.Atoi(value); err == nil && h.Kind == KindOperator && pid > 0 {
				h.PID = pid
			}
		case "start":
			if start, err := strconv.ParseUint(value, 10, 64); err == nil {
				h.StartTime = start
			}
		}
	}
}

// Display names the holder to a reader: "alice@host (pid 1234)", "operator pod x".
func (h Holder) Display() string {
	switch h.Kind {
	case KindOperator:
		return "operator pod " + h.Pod
	case KindCLI:
		return fmt.Sprintf("%s@%s (pid %d)", h.User, h.Host, h.PID)
	}
	if h.Raw == "" {
		return "nobody"
	}
	return h.Raw
}

// IsZero says whether this is nobody.
func (h Holder) IsZero() bool { return h == Holder{} }

// gone says whether a holder is proven to be gone: it ran under this very kernel and in this PID namespace, and there its
// process is no more. Without proof it is not gone.
func (h Holder) gone(self Holder, look func(pid int) (start uint64, alive bool, err error)) bool {
	if h.PID == 0 || h.StartTime == 0 || h.BootID == "" || h.PIDNamespace == "" {
		return false
	}
	if h.BootID != self.BootID || h.PIDNamespace != self.PIDNamespace {
		return false
	}
	start, alive, err := look(h.PID)
	if err != nil {
		return false
	}
	return !alive || start != h.StartTime
}
