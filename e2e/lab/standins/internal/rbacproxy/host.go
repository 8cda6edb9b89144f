package rbacproxy

import (
	"context"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
)

// Host is what a proxy takes from where it runs: a container of its own, or a process that it shares with thousands.
type Host struct {
	// ReadFile reads a mounted file.
	ReadFile func(name string) ([]byte, error)
	// Listen opens a port.
	Listen func(address string) (net.Listener, error)
	// Upstream reaches the sidecar; nil dials its address.
	Upstream http.RoundTripper
	// Reload ticks when the certificate files are to be read again.
	Reload func(ctx context.Context) <-chan time.Time
	// Serving is told what answers, before the port opens.
	Serving func(http.Handler)
}

// Run runs the proxy on a host until ctx ends. Config says where the API server is that reviews callers, and as whom it
// is asked.
func Run(ctx context.Context, args []string, config *rest.Config, host Host, client *faults.Client) error {
	none := func(string) string { return "" }
	o, err := parseOptions(args, none)
	if err != nil {
		return err
	}
	authn, authz, err := reviewers(config, o)
	if err != nil {
		return err
	}
	return serve(ctx, o, host, client, authn, authz)
}
