package seid

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sei.io/seictl/e2e/lab/standins/internal/files"
)

// Files in the home directory. The logs in data/ are for tests: starts.log has a line for every `seid start`, so that
// a test can prove that an image never ran; stops.log one for every clean stop, so that a SIGKILL shows;
// conflicts.log one for every start that found the volume in use.
const (
	configFile   = "config/config.toml"
	genesisFile  = "config/genesis.json"
	nodeKeyFile  = "config/node_key.json"
	heightFile   = "data/height"
	lockFile     = "data/LOCK"
	startsFile   = "data/starts.log"
	stopsFile    = "data/stops.log"
	conflictFile = "data/conflicts.log"
)

// errVolumeInUse means that another seid has the data directory open.
var errVolumeInUse = errors.New("another seid is running on this data directory")

// home is a seid home directory.
type home string

func (h home) path(name string) string { return filepath.Join(string(h), name) }

// initialise creates what is missing of a home and leaves alone what is there: a second init must not replace a
// node's key or genesis. Overwrite replaces all but the key.
func (h home) initialise(moniker, chainID string, overwrite bool, now time.Time) error {
	for _, dir := range []string{"config", "data"} {
		if err := os.MkdirAll(h.path(dir), 0o755); err != nil {
			return fmt.Errorf("creating the home directory: %w", err)
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("making the node key: %w", err)
	}
	address := sha256.Sum256(public)
	nodeKey := map[string]any{
		"id": hex.EncodeToString(address[:20]),
		"priv_key": map[string]string{
			"type":  "tendermint/PrivKeyEd25519",
			"value": base64.StdEncoding.EncodeToString(private),
		},
	}
	genesis := map[string]any{
		"genesis_time":   now.UTC().Format(time.RFC3339Nano),
		"chain_id":       chainID,
		"initial_height": "1",
	}
	// config.toml is written last: its presence is what config-validate takes for a finished home.
	if err := write(h.path(nodeKeyFile), false, func(p string) error { return files.WriteJSON(p, nodeKey) }); err != nil {
		return err
	}
	if err := write(h.path(genesisFile), overwrite, func(p string) error { return files.WriteJSON(p, genesis) }); err != nil {
		return err
	}
	return write(h.path(configFile), overwrite, func(p string) error {
		return files.Write(p, fmt.Appendf(nil, "moniker = %q\n\n[rpc]\nladdr = \"tcp://0.0.0.0:26657\"\n", moniker))
	})
}

// write creates a file; one that exists only gives way when it may be overwritten.
func write(path string, overwrite bool, create func(string) error) error {
	switch _, err := os.Stat(path); {
	case err == nil && !overwrite:
		return nil
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return create(path)
	default:
		return fmt.Errorf("looking at %s: %w", path, err)
	}
}

// chainID reads the chain's name from the genesis.
func (h home) chainID() (string, error) {
	var genesis struct {
		ChainID string `json:"chain_id"`
	}
	if err := readJSON(h.path(genesisFile), &genesis); err != nil {
		return "", fmt.Errorf("home is not initialised, run seid init first: %w", err)
	}
	return genesis.ChainID, nil
}

// nodeID reads the node's p2p identity.
func (h home) nodeID() (string, error) {
	var key struct {
		ID string `json:"id"`
	}
	if err := readJSON(h.path(nodeKeyFile), &key); err != nil {
		return "", fmt.Errorf("reading the node key: %w", err)
	}
	return key.ID, nil
}

func readJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// height reads the last persisted height, 0 for a new chain.
func (h home) height() (int64, error) {
	raw, err := os.ReadFile(h.path(heightFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the height: %w", err)
	}
	height, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the height: %w", err)
	}
	return height, nil
}

func (h home) storeHeight(height int64) error {
	return files.Write(h.path(heightFile), strconv.AppendInt(nil, height, 10))
}

// lock opens the database for this process alone. The kernel drops the lock when the process ends, however it ends.
func (h home) lock() (*os.File, error) {
	f, err := os.OpenFile(h.path(lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errVolumeInUse
		}
		return nil, fmt.Errorf("locking the database: %w", err)
	}
	return f, nil
}
