//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Tiers of the lab: real has a kubelet and containers, sim the same control plane and simulated pods.
const (
	tierReal = "real"
	tierSim  = "sim"
)

// tier is the one that the suite runs on.
func tier() string {
	if t := os.Getenv("LAB"); t != "" {
		return t
	}
	return tierReal
}

// needsKubelet skips a test where pods are simulated.
func needsKubelet(t *testing.T, why string) {
	t.Helper()
	if tier() == tierSim {
		t.Skip("needs the real tier: " + why)
	}
}

// tierDir is where the tier's lab lives unless SEICTL_LAB_DIR says so.
func tierDir(t *testing.T) string {
	t.Helper()
	if tier() == tierReal {
		return "/var/lib/seictl-lab"
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		require.NoError(t, err)
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "seictl-sim")
}

// tierURL is a URL of the tier's lab: each has ports of its own.
func tierURL(onReal, onSim int, path string) string {
	port := onReal
	if tier() == tierSim {
		port = onSim
	}
	return fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
}
