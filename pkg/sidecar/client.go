package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Paths of the sidecar's API.
const (
	pathHealthz = "/v0/healthz"
	pathLivez   = "/v0/livez"
	pathStatus  = "/v0/status"
	pathTasks   = "/v0/tasks"
)

// Statuses of a task of the sidecar.
const (
	TaskRunning   = "running"
	TaskCompleted = "completed"
	TaskFailed    = "failed"
)

// Task is a task as the sidecar reports it.
type Task struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Status string `json:"status"`
	// Error is the sidecar's word on a failed task.
	Error string `json:"error,omitempty"`
}

// Client calls one sidecar. It keeps its connections between calls; Close releases them. It is safe for concurrent use.
type Client struct {
	target    Target
	tokens    TokenSource // nil for plain HTTP
	base      string
	timeout   time.Duration
	http      *http.Client
	transport *http.Transport
}

// Open returns a client of the target. It does no I/O.
func (c *Connector) Open(t Target) *Client {
	transport := &http.Transport{
		// No Proxy: a pod is reached through the Dialer only, whatever HTTP_PROXY says.
		MaxIdleConns:           4,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxBody,
		DisableCompression:     true, // the body limit counts what is read; nothing may unfold behind it
	}
	client := &Client{target: t, timeout: c.requestTimeout(), transport: transport}
	scheme := "http"
	if t.TLS != nil {
		scheme = "https"
		client.tokens = c.Tokens
		transport.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.dialVerified(ctx, t)
		}
		// The only way out of this transport is the verified handshake.
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("refusing a plain connection to a TLS target")
		}
	} else {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, c.dialTimeout())
			defer cancel()
			return c.dial(ctx, t)
		}
	}
	// The host is a label for the connection pool and the Host header; the Dialer decides where it goes.
	host := net.JoinHostPort(t.PodName+"."+t.Namespace, strconv.Itoa(int(t.Port)))
	client.base = (&url.URL{Scheme: scheme, Host: host}).String()
	client.http = &http.Client{
		Transport: transport,
		// A redirect could carry the token elsewhere, and a sidecar has no reason to send one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client
}

// Close releases the client's connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Healthz asks whether the sidecar is ready and returns the HTTP status: 200, or 503 until mark-ready. No token is sent.
func (c *Client) Healthz(ctx context.Context) (status int, err error) {
	return c.probe(ctx, pathHealthz, false)
}

// Livez asks whether the sidecar lives and returns the HTTP status. No token is sent.
func (c *Client) Livez(ctx context.Context) (status int, err error) {
	return c.probe(ctx, pathLivez, false)
}

// Status is the authenticated GET /v0/status: over TLS a 200 proves certificate, authentication and authorization. Any
// HTTP status but a redirect is an answer, not an error.
func (c *Client) Status(ctx context.Context) (status int, err error) {
	return c.probe(ctx, pathStatus, true)
}

// probe is a GET of which only the status matters.
func (c *Client) probe(ctx context.Context, path string, authenticate bool) (int, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil, authenticate)
	if err != nil {
		return 0, err
	}
	if resp.code >= 300 && resp.code < 400 {
		return resp.code, resp.statusError()
	}
	if resp.bodyErr != nil {
		return resp.code, resp.callError()
	}
	return resp.code, nil
}

// PostTask submits a task; nil means that the sidecar accepted it (201). params nil stands for none. An answer other than
// 201 is a *StatusError; for any other error see DeliveryUnknown.
func (c *Client) PostTask(ctx context.Context, id, taskType string, params any) error {
	if params == nil {
		params = struct{}{}
	}
	body, err := json.Marshal(map[string]any{"id": id, "type": taskType, "params": params})
	if err != nil {
		return fmt.Errorf("encoding task %s: %w", taskType, err)
	}
	resp, err := c.do(ctx, http.MethodPost, pathTasks, body, true)
	if err != nil {
		return err
	}
	if resp.code != http.StatusCreated {
		return resp.statusError()
	}
	return nil // whatever the body says: 201 is the acceptance
}

// GetTask reads a task; one that the sidecar does not know is a *StatusError for which IsNotFound holds.
func (c *Client) GetTask(ctx context.Context, id string) (Task, error) {
	resp, err := c.do(ctx, http.MethodGet, pathTasks+"/"+url.PathEscape(id), nil, true)
	if err != nil {
		return Task{}, err
	}
	if resp.code != http.StatusOK {
		return Task{}, resp.statusError()
	}
	if resp.bodyErr != nil {
		return Task{}, resp.callError()
	}
	var task Task
	if err := json.Unmarshal(resp.body, &task); err != nil {
		return Task{}, fmt.Errorf("reading task %s from %s: %w", id, c.target, err)
	}
	return task, nil
}

// response is an answer with as much of its body as the limit lets in.
type response struct {
	method, path, target string
	code                 int
	body                 []byte
	bodyErr              error
	token                string
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, authenticate bool) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var sent atomic.Bool
	fail := func(err error) error {
		return &callError{method: method, path: path, target: c.target.String(), sent: sent.Load(), err: bare(err)}
	}
	// The transport retries a POST only when nothing of it was written, and starts over with GetConn.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fail(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	token := ""
	if authenticate && c.tokens != nil {
		if token, err = c.tokens.Token(ctx); err != nil {
			return nil, fail(fmt.Errorf("getting a token: %w", err))
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fail(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end or is abandoned
	out := &response{method: method, path: path, target: c.target.String(), code: resp.StatusCode, token: token}
	out.body, out.bodyErr = readLimited(resp.Body)
	if i, ok := c.tokens.(interface{ Invalidate() }); ok && resp.StatusCode == http.StatusUnauthorized && token != "" {
		i.Invalidate()
	}
	return out, nil
}

// bare takes off the *url.Error: method and URL are said by callError, in the words of a pod.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func readLimited(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if len(body) > maxBody {
		return body[:maxBody], ErrBodyTooLarge
	}
	return body, err
}

func (r *response) callError() error {
	return &callError{method: r.method, path: r.path, target: r.target, sent: true, err: r.bodyErr}
}

// statusError quotes the sidecar's {"error": ""}, or the start of whatever came instead.
func (r *response) statusError() error {
	var said struct {
		Error string `json:"error"`
	}
	message := ""
	if json.Unmarshal(r.body, &said) == nil {
		message = said.Error
	} else {
		message, _, _ = strings.Cut(strings.TrimSpace(string(r.body)), "\n")
	}
	if r.token != "" { // a peer may echo what it was sent
		message = strings.ReplaceAll(message, r.token, "[token]")
	}
	if len(message) > 300 {
		message = strings.ToValidUTF8(message[:300], "") + "…"
	}
	return &StatusError{Code: r.code, Message: message, Method: r.method, Path: r.path}
}
