package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

// Pod is where a node's seid runs.
type Pod struct{ Namespace, Name, IP string }

// Prober asks seid how it is.
type Prober interface {
	// Chain returns the height of seid, and whether it is catching up.
	Chain(ctx context.Context, pod Pod) (height int64, catchingUp bool, err error)
}

// RPCProber asks seid's RPC, through the same dialer that reaches sidecars.
type RPCProber struct {
	Dialer sidecar.Dialer
	// Timeout of one question; 5 s when zero.
	Timeout time.Duration
}

// maxRPCBody is what is read of an answer, in bytes.
const maxRPCBody = 256 << 10

// Chain implements Prober.
func (p *RPCProber) Chain(ctx context.Context, pod Pod) (int64, bool, error) {
	timeout := p.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.Dialer.DialPod(ctx, pod.Namespace, pod.Name, pod.IP, resources.PortRPC)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pod.Name+"."+pod.Namespace+":"+
		strconv.Itoa(int(resources.PortRPC))+"/status", nil)
	if err != nil {
		return 0, false, fmt.Errorf("asking seid: %w", err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, false, fmt.Errorf("asking seid: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end or is abandoned
	if resp.StatusCode != http.StatusOK {
		return 0, false, fmt.Errorf("asking seid: /status answered %s", resp.Status)
	}
	return parseStatus(io.LimitReader(resp.Body, maxRPCBody))
}

// parseStatus reads the answer of /status: CometBFT wraps it into result, older ones do not.
func parseStatus(r io.Reader) (height int64, catchingUp bool, err error) {
	type syncInfo struct {
		Height     string `json:"latest_block_height"`
		CatchingUp *bool  `json:"catching_up"`
	}
	var body struct {
		Result struct {
			SyncInfo syncInfo `json:"sync_info"`
		} `json:"result"`
		SyncInfo syncInfo `json:"sync_info"`
	}
	if err := json.NewDecoder(r).Decode(&body); err != nil {
		return 0, false, fmt.Errorf("reading seid's /status: %w", err)
	}
	info := body.Result.SyncInfo
	if info.Height == "" {
		info = body.SyncInfo
	}
	height, err = strconv.ParseInt(info.Height, 10, 64)
	if err != nil || info.CatchingUp == nil {
		return 0, false, fmt.Errorf("reading seid's /status: no sync_info with latest_block_height and catching_up")
	}
	return height, *info.CatchingUp, nil
}
