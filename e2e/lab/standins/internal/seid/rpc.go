package seid

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// node is what the RPC tells about this process.
type node struct {
	id      string
	moniker string
	chainID string
	version string
	chain   *chain
}

type rpcResponse struct {
	JSONRPC string `json:"jsonrpc"`
	ID      any    `json:"id"`
	Result  any    `json:"result,omitempty"`
	Error   any    `json:"error,omitempty"`
}

// cometRPC serves the two CometBFT methods that anybody asks for here, as GET on a path and as JSON-RPC on /.
func (n *node) cometRPC() http.Handler {
	mux := http.NewServeMux()
	// CometBFT numbers the answers to plain GETs -1.
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		writeRPC(w, rpcResponse{ID: -1, Result: n.status()})
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		writeRPC(w, rpcResponse{ID: -1, Result: struct{}{}})
	})
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		n.call(w, r, map[string]any{"status": n.status(), "health": struct{}{}})
	})
	return mux
}

// evmRPC answers the one Ethereum method that tells whether a node is alive.
func (n *node) evmRPC() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		height, _ := n.chain.latest()
		n.call(w, r, map[string]any{"eth_blockNumber": fmt.Sprintf("0x%x", height)})
	})
}

// restAPI answers the node_info of the Cosmos REST gateway and nothing else.
func (n *node) restAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cosmos/base/tendermint/v1beta1/node_info", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"default_node_info": n.info()})
	})
	return mux
}

func (n *node) call(w http.ResponseWriter, r *http.Request, results map[string]any) {
	var req struct {
		ID     any    `json:"id"`
		Method string `json:"method"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req); err != nil {
		writeRPC(w, rpcResponse{Error: map[string]any{"code": -32700, "message": "Parse error"}})
		return
	}
	result, ok := results[req.Method]
	if !ok {
		writeRPC(w, rpcResponse{ID: req.ID, Error: map[string]any{"code": -32601, "message": "Method not found"}})
		return
	}
	writeRPC(w, rpcResponse{ID: req.ID, Result: result})
}

func (n *node) info() map[string]any {
	return map[string]any{
		"protocol_version": map[string]string{"p2p": "8", "block": "11", "app": "0"},
		"id":               n.id,
		"listen_addr":      "tcp://0.0.0.0:26656",
		"network":          n.chainID,
		"version":          n.version,
		"channels":         "40202122233038606100",
		"moniker":          n.moniker,
		"other":            map[string]string{"tx_index": "on", "rpc_address": "tcp://0.0.0.0:26657"},
	}
}

// status has the shape of CometBFT's answer: 64-bit numbers are strings.
func (n *node) status() map[string]any {
	height, blockTime := n.chain.latest()
	hash := fmt.Sprintf("%064X", height)
	return map[string]any{
		"node_info": n.info(),
		"sync_info": map[string]any{
			"latest_block_hash":     hash,
			"latest_app_hash":       hash,
			"latest_block_height":   strconv.FormatInt(height, 10),
			"latest_block_time":     blockTime.Format(time.RFC3339Nano),
			"earliest_block_height": "1",
			"catching_up":           n.chain.catchingUp(),
		},
		"validator_info": map[string]any{"address": "", "pub_key": nil, "voting_power": "0"},
	}
}

func writeRPC(w http.ResponseWriter, resp rpcResponse) {
	resp.JSONRPC = "2.0"
	writeJSON(w, resp)
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	// The caller hung up when this fails; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(value)
}
