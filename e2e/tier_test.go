//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
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

// pace has simulated pods take about the time of real ones: scenarios that look at the way, and not only at its end, need
// it. SIM_START and SIM_STOP say how long seid takes.
func pace(t *testing.T) {
	t.Helper()
	if tier() != tierSim {
		return
	}
	settings := map[string]string{"start": "2s", "stop": "1s"}
	for name, variable := range map[string]string{"start": "SIM_START", "stop": "SIM_STOP"} {
		if v := os.Getenv(variable); v != "" {
			settings[name] = v
		}
	}
	body, err := json.Marshal(settings)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, tierURL(0, 19900, "/sim/settings"), bytes.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode, "SIM_START and SIM_STOP are durations such as 2s")
}

// tierURL is a URL of the tier's lab: each has ports of its own.
func tierURL(onReal, onSim int, path string) string {
	port := onReal
	if tier() == tierSim {
		port = onSim
	}
	return fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
}
