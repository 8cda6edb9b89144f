package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// DefaultURL is where pods find the registry.
const DefaultURL = "http://10.244.0.1:9900"

// namespaceFile is where Kubernetes tells a pod its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Fault is one way to misbehave.
type Fault struct {
	Kind   string          `json:"kind"`
	Params json.RawMessage `json:"params,omitempty"`
}

// Decode reads the fault's params into a struct; absent ones leave it alone.
func (f Fault) Decode(into any) error {
	if len(f.Params) == 0 {
		return nil
	}
	if err := json.Unmarshal(f.Params, into); err != nil {
		return fmt.Errorf("reading the params of fault %s: %w", f.Kind, err)
	}
	return nil
}

// State is what is set for one container.
type State struct {
	Generation int64   `json:"generation"`
	Faults     []Fault `json:"faults"`
}

// Get returns the fault of a kind.
func (s State) Get(kind string) (Fault, bool) {
	for _, f := range s.Faults {
		if f.Kind == kind {
			return f, true
		}
	}
	return Fault{}, false
}

// Client speaks to the registry about one container.
type Client struct {
	URL, Namespace, Pod, Container string
	// HTTP is http.DefaultClient when nil; it must allow 30 s for a long poll.
	HTTP *http.Client
}

// FromPod is the client of the pod that the caller runs in. LAB_FAULTS_URL,
// POD_NAMESPACE and POD_NAME override what Kubernetes tells every pod: the
// file of its service account and its host name.
func FromPod(container string) (*Client, error) {
	c := &Client{
		URL: os.Getenv("LAB_FAULTS_URL"), Namespace: os.Getenv("POD_NAMESPACE"),
		Pod: os.Getenv("POD_NAME"), Container: container,
	}
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.Namespace == "" {
		data, err := os.ReadFile(namespaceFile)
		if err != nil {
			return nil, fmt.Errorf("finding out the pod's namespace: %w", err)
		}
		c.Namespace = strings.TrimSpace(string(data))
	}
	if c.Pod == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("finding out the pod's name: %w", err)
		}
		c.Pod = name
	}
	return c, nil
}

// Get reads what is set now.
func (c *Client) Get(ctx context.Context) (State, error) {
	return c.do(ctx, http.MethodGet, c.path(), nil)
}

// Next reads what is set once the generation is not after, at the latest after
// 30 seconds: the answer may be unchanged.
func (c *Client) Next(ctx context.Context, after int64) (State, error) {
	return c.do(ctx, http.MethodGet, c.path()+"?after="+strconv.FormatInt(after, 10), nil)
}

// Watch calls changed with what is set now and after every change, until the
// context ends. It outlives a registry that is away: the last state holds.
func (c *Client) Watch(ctx context.Context, changed func(State)) {
	state, seen := State{}, false
	for ctx.Err() == nil {
		next, err := State{}, error(nil)
		if seen {
			next, err = c.Next(ctx, state.Generation)
		} else {
			next, err = c.Get(ctx)
		}
		if err != nil {
			// Nothing tells when a registry is back: ask again.
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		if !seen || next.Generation != state.Generation {
			changed(next)
		}
		state, seen = next, true
	}
}

// Set adds a fault, or replaces the one of its kind. Params may be nil.
func (c *Client) Set(ctx context.Context, kind string, params any) (State, error) {
	body := map[string]any{}
	if params != nil {
		body["params"] = params
	}
	return c.do(ctx, http.MethodPut, c.path()+"/"+url.PathEscape(kind), body)
}

// Clear removes the fault of a kind, or all of the container when kind is "".
func (c *Client) Clear(ctx context.Context, kind string) (State, error) {
	path := c.path()
	if kind != "" {
		path += "/" + url.PathEscape(kind)
	}
	return c.do(ctx, http.MethodDelete, path, nil)
}

// path is the container's path at the registry.
func (c *Client) path() string {
	return "/faults/" + url.PathEscape(c.Namespace) + "/" + url.PathEscape(c.Pod) + "/" + url.PathEscape(c.Container)
}

// do sends one request and reads the container's state from the answer.
func (c *Client) do(ctx context.Context, method, path string, body any) (State, error) {
	var state State
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return state, fmt.Errorf("encoding a fault: %w", err)
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, payload)
	if err != nil {
		return state, fmt.Errorf("asking the fault registry: %w", err)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return state, fmt.Errorf("asking the fault registry: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return state, fmt.Errorf("reading the fault registry's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return state, errors.New("fault registry: " + resp.Status + ": " + strings.TrimSpace(string(data)))
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, fmt.Errorf("reading the fault registry's answer: %w", err)
	}
	return state, nil
}
