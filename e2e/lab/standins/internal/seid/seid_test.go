package seid

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func initialised(t *testing.T) home {
	t.Helper()
	h := home(t.TempDir())
	require.NoError(t, h.initialise("node-0", "sei-test", false, noon))
	return h
}

func TestInitLeavesAnExistingHomeAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Equal(t, 0, Main([]string{"init", "m", "--chain-id", "first", "--home", dir}, os.Stdout, os.Stderr))
	key, err := os.ReadFile(filepath.Join(dir, nodeKeyFile))
	require.NoError(t, err)
	require.Equal(t, 0, Main([]string{"init", "m", "--chain-id", "second", "--home", dir}, os.Stdout, os.Stderr))
	again, err := os.ReadFile(filepath.Join(dir, nodeKeyFile))
	require.NoError(t, err)
	require.Equal(t, key, again)
	chainID, err := home(dir).chainID()
	require.NoError(t, err)
	require.Equal(t, "first", chainID)
	require.FileExists(t, filepath.Join(dir, configFile))

	require.Equal(t, 0, Main([]string{"init", "m", "--chain-id", "third", "--home", dir, "--overwrite"}, os.Stdout, os.Stderr))
	chainID, err = home(dir).chainID()
	require.NoError(t, err)
	require.Equal(t, "third", chainID, "a half-made home can be made anew")
	again, err = os.ReadFile(filepath.Join(dir, nodeKeyFile))
	require.NoError(t, err)
	require.Equal(t, key, again, "with the same identity")
}

func TestVersion(t *testing.T) {
	t.Setenv("SEID_VERSION", "v6.1.0")
	var out bytes.Buffer
	require.Equal(t, 0, Main([]string{"version"}, &out, os.Stderr))
	require.Equal(t, "v6.1.0\n", out.String())
}

func TestSecondSeidOnOneVolumeIsRefused(t *testing.T) {
	t.Setenv("LAB_FAULTS_URL", "off")
	h := initialised(t)
	lock, err := h.lock()
	require.NoError(t, err)
	defer lock.Close()
	var loud bytes.Buffer
	require.Equal(t, 1, Main([]string{"start", "--home", string(h)}, os.Stdout, &loud))
	require.Contains(t, loud.String(), "TWO SEID ON ONE VOLUME")
	require.FileExists(t, h.path(conflictFile))
}

func TestCrashingStartIsRecorded(t *testing.T) {
	t.Setenv("LAB_FAULTS_URL", "off")
	t.Setenv("SEID_CRASH", "1")
	t.Setenv("SEID_VERSION", "v-bad")
	h := initialised(t)
	require.Equal(t, 1, Main([]string{"start", "--home", string(h)}, os.Stdout, os.Stderr))
	raw, err := os.ReadFile(h.path(startsFile))
	require.NoError(t, err)
	var line logLine
	require.NoError(t, json.Unmarshal(raw, &line))
	require.Equal(t, "v-bad", line.Version)
	require.NotEmpty(t, line.Hostname)
}

func TestStartNeedsAHome(t *testing.T) {
	t.Setenv("LAB_FAULTS_URL", "off")
	var out bytes.Buffer
	require.Equal(t, 1, Main([]string{"start", "--home", t.TempDir()}, os.Stdout, &out))
	require.Contains(t, out.String(), "run seid init first")
}

func TestHeightContinuesAfterARestart(t *testing.T) {
	t.Parallel()
	h := initialised(t)
	first, err := openChain(h, &faults.Source{}, noon)
	require.NoError(t, err)
	require.NoError(t, first.makeBlock(noon))
	require.NoError(t, first.makeBlock(noon.Add(time.Second)))

	source := &faults.Source{}
	second, err := openChain(h, source, noon)
	require.NoError(t, err)
	height, _ := second.latest()
	require.Equal(t, int64(2), height)

	source.Store(faults.NewSource(kinds.StuckHeight).Current())
	require.NoError(t, second.makeBlock(noon))
	height, _ = second.latest()
	require.Equal(t, int64(2), height)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	source := faults.NewSource(kinds.CatchingUp)
	chain, err := openChain(initialised(t), source, noon)
	require.NoError(t, err)
	require.NoError(t, chain.makeBlock(noon))
	n := &node{id: "abc", chainID: "sei-test", version: "v1", chain: chain}

	type answer struct {
		JSONRPC string `json:"jsonrpc"`
		ID      int    `json:"id"`
		Result  struct {
			NodeInfo struct{ Network, Version string } `json:"node_info"`
			SyncInfo struct {
				Height     string `json:"latest_block_height"`
				CatchingUp bool   `json:"catching_up"`
			} `json:"sync_info"`
		} `json:"result"`
	}
	get := func() (a answer) {
		w := httptest.NewRecorder()
		n.cometRPC().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status", nil))
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
		return a
	}
	a := get()
	require.Equal(t, "2.0", a.JSONRPC)
	require.Equal(t, -1, a.ID)
	require.Equal(t, "sei-test", a.Result.NodeInfo.Network)
	require.Equal(t, "v1", a.Result.NodeInfo.Version)
	require.Equal(t, "1", a.Result.SyncInfo.Height)
	require.True(t, a.Result.SyncInfo.CatchingUp)
	source.Store(registry.State{})
	require.False(t, get().Result.SyncInfo.CatchingUp)
}

func TestPodUID(t *testing.T) {
	t.Parallel()
	mounts := "512 480 8:1 /kubelet/pods/0f3c1f3e-8f4e-4a57-9d43-6f0a7d1a2b3c/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"
	require.Equal(t, "0f3c1f3e-8f4e-4a57-9d43-6f0a7d1a2b3c", podUIDFrom("", mounts))
	require.Equal(t, "from-env", podUIDFrom("from-env", mounts))
	require.Empty(t, podUIDFrom("", ""))
}
