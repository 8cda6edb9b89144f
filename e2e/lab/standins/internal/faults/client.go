package faults

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	registry "sei.io/seictl/e2e/lab/faults"
)

const (
	// urlEnv names the environment variable with the registry's base URL; urlOff asks nobody.
	urlEnv = "LAB_FAULTS_URL"
	urlOff = "off"

	// firstTimeout bounds the question before the ports open: a registry that hangs must not cost a pod its start, and one
	// that is slow on a busy machine must not cost it its faults.
	firstTimeout = 3 * time.Second
	// pollTimeout is longer than the 30 s that the registry holds a long poll.
	pollTimeout = 40 * time.Second
)

// Client asks the registry about one container and keeps Source up to date.
type Client struct {
	// Source holds what the registry said last.
	Source *Source
	// OnChange, when set, is called after every change. born says that it is the registry's first answer: the state
	// this process found, not something that was done to it.
	OnChange func(state registry.State, born bool)

	// registry is nil when nobody is to be asked.
	registry Registry
	known    bool
}

// Registry is whom to ask about one container: the lab's by its client, or one in the same process.
type Registry interface {
	// Get reads what is set now.
	Get(ctx context.Context) (registry.State, error)
	// Watch calls changed with what is set now and after every change, until ctx ends.
	Watch(ctx context.Context, changed func(registry.State))
}

// NewClient returns a client that asks nobody yet; a nil registry is never asked.
func NewClient(r Registry) *Client { return &Client{Source: &Source{}, registry: r} }

// FromEnvironment returns the client of a container of this pod, having asked the registry once.
func FromEnvironment(ctx context.Context, container string) *Client {
	if os.Getenv(urlEnv) == urlOff {
		return NewClient(nil)
	}
	return Asked(ctx, fromPod(container))
}

// Asked returns the client of a container, having asked the registry once.
func Asked(ctx context.Context, r Registry) *Client {
	c := NewClient(r)
	ctx, cancel := context.WithTimeout(ctx, firstTimeout)
	defer cancel()
	state, err := c.registry.Get(ctx)
	if err != nil {
		// No faults for now; Watch asks again.
		slog.Warn("no answer from the fault registry", "error", err)
		return c
	}
	c.accept(state)
	return c
}

// fromPod is the registry's client of this pod; a container without a mounted token that was not told its namespace is
// looked up in "default".
func fromPod(container string) *registry.Client {
	client, err := registry.FromPod(container)
	if err != nil {
		host, _ := os.Hostname()
		client = &registry.Client{
			URL: cmp.Or(os.Getenv(urlEnv), registry.DefaultURL), Namespace: "default", Pod: host, Container: container,
		}
	}
	// No proxy from the environment: the registry is on the lab's own bridge.
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext}
	client.HTTP = &http.Client{Transport: transport, Timeout: pollTimeout}
	return client
}

// Watch long-polls the registry until ctx ends.
func (c *Client) Watch(ctx context.Context) {
	if c.registry != nil {
		c.registry.Watch(ctx, c.accept)
	}
}

// accept stores a state that differs from the known one.
func (c *Client) accept(state registry.State) {
	if c.known && state.Generation == c.Source.Current().Generation {
		return
	}
	born := !c.known
	c.known = true
	c.Source.Store(state)
	if c.OnChange != nil {
		c.OnChange(state, born)
	}
}
