// Package lab brings up, repairs and removes a real Kubernetes cluster on this
// machine: no containers around it, no virtual machine, no network beyond it.
package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// What the lab occupies on the machine. The addresses are fixed, as one lab
// runs on a machine at a time.
const (
	Bridge      = "seilab0"
	BridgeIP    = "10.244.0.1"
	PodCIDR     = "10.244.0.0/16"
	ServiceCIDR = "10.96.0.0/16"
	ServiceIP   = "10.96.0.1"  // the kubernetes Service
	DNSIP       = "10.96.0.10" // the cluster DNS
	NodeName    = "lab"
	CgroupRoot  = "seictl-lab"
	cniNetwork  = "seictl-lab"
	nftTable    = "seictl-lab"

	apiPort    = 6443 // of the real tier; see ports for all of them
	faultsPort = 9900
)

// ownedVar marks every process that the lab starts with the lab's directory.
// Children inherit it, so a process is found although the record of it was
// never written (the orchestrator was killed) or its parent is gone.
const (
	ownedVar     = "SEICTL_LAB_OWNED"
	componentVar = "SEICTL_LAB_COMPONENT"
)

// Env is where a lab lives.
type Env struct {
	tier
	Dir   string // state, sockets, logs, certificates
	Cache string // what the build made
	Repo  string // the repository's e2e/lab directory
	Bin   string // the seictl binary
	quiet bool
}

// NewEnv reads the environment; lab.sh sets the cache and the repository.
func NewEnv() (*Env, error) {
	t, err := readTier()
	if err != nil {
		return nil, err
	}
	e := &Env{
		tier:  t,
		Dir:   envOr("SEICTL_LAB_DIR", t.dir),
		Cache: os.Getenv("SEICTL_LAB_CACHE"),
		Repo:  os.Getenv("SEICTL_LAB_SOURCE"),
	}
	if e.Cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("finding the cache directory (set SEICTL_LAB_CACHE): %w", err)
		}
		e.Cache = filepath.Join(base, "seictl-lab")
	}
	e.Bin = envOr("SEICTL_BIN", filepath.Join(e.Repo, "..", "..", "bin", "seictl"))
	for _, p := range []*string{&e.Dir, &e.Cache} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, fmt.Errorf("resolving %s: %w", *p, err)
		}
		*p = abs
	}
	if e.Dir == "/" || filepath.Dir(e.Dir) == "/" {
		return nil, fmt.Errorf("SEICTL_LAB_DIR=%s: `lab down` removes that directory; name one of its own", e.Dir)
	}
	return e, nil
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// path names something in the lab's directory.
func (e *Env) path(elem ...string) string {
	return filepath.Join(append([]string{e.Dir}, elem...)...)
}

// bin names a binary that the build made.
func (e *Env) bin(name string) string { return filepath.Join(e.Cache, "bin", name) }

// Kubeconfig is the administrator's.
func (e *Env) Kubeconfig() string { return e.path("kubeconfig") }

// socket is containerd's.
func (e *Env) socket() string { return e.path("containerd", "containerd.sock") }

// step runs f and prints what it did and how long that took.
func (e *Env) step(what string, f func() error) error {
	start := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	e.say("%-38s %6.1fs", what, time.Since(start).Seconds())
	return nil
}

// say prints a line of progress.
func (e *Env) say(format string, args ...any) {
	if !e.quiet {
		fmt.Fprintf(os.Stderr, "lab: "+format+"\n", args...)
	}
}
