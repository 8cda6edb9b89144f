package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tier is what the two kinds of lab differ in: the real one has a kubelet and containers, the sim one simulated pods.
type tier struct {
	name string
	// dir is where the lab lives unless SEICTL_LAB_DIR says so.
	dir string
	// node is one that is there when all are.
	node  string
	ports ports
}

// ports are those on 127.0.0.1 that both tiers have, each its own, so that a lab of each runs on a machine.
type ports struct {
	api, etcd, etcdPeer, faults, controllerManager, scheduler, certManager, provisioner int
	// kubelet is the port of simulated nodes.
	kubelet int
}

const (
	tierReal = "real"
	tierSim  = "sim"
)

// readTier reads LAB.
func readTier() (tier, error) {
	switch name := envOr("LAB", tierReal); name {
	case tierReal:
		return tier{name: name, dir: "/var/lib/seictl-lab", node: NodeName, ports: ports{
			api: apiPort, etcd: 12379, etcdPeer: 12380, faults: faultsPort, controllerManager: 10257, scheduler: 10259,
			certManager: 9403, provisioner: 9404,
		}}, nil
	case tierSim:
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return tier{}, fmt.Errorf("finding the state directory (set SEICTL_LAB_DIR): %w", err)
			}
			state = filepath.Join(home, ".local", "state")
		}
		return tier{name: name, dir: filepath.Join(state, "seictl-sim"), node: "sim-0", ports: ports{
			api: 16443, etcd: 12479, etcdPeer: 12480, faults: 19900, controllerManager: 20257, scheduler: 20259,
			certManager: 19403, provisioner: 19404, kubelet: 20250,
		}}, nil
	default:
		return tier{}, fmt.Errorf("LAB=%s: there are %s and %s", name, tierReal, tierSim)
	}
}

func (t tier) sim() bool { return t.name == tierSim }

// claim makes sure that the directory is of a lab of this tier, or of none yet: `down` removes it.
func (e *Env) claim() error {
	found, err := os.ReadFile(e.path("tier"))
	switch {
	case err == nil && strings.TrimSpace(string(found)) != e.tier.name:
		return fmt.Errorf("%s holds a lab with LAB=%s, not %s", e.Dir, strings.TrimSpace(string(found)), e.tier.name)
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	entries, err := os.ReadDir(e.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking into the lab's directory: %w", err)
	}
	if e.sim() && len(entries) > 0 {
		return fmt.Errorf("%s is no directory of a lab with LAB=%s: name one of its own in SEICTL_LAB_DIR", e.Dir, tierSim)
	}
	return nil
}
