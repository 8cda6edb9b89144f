// Package rbacproxy is a stand-in for kube-rbac-proxy: the same flags, the same config file, real TokenReviews and
// SubjectAccessReviews, and the same ways to fail.
package rbacproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// container is the proxy's name in the pod and in the fault registry.
const container = "kube-rbac-proxy"

// errCrash ends a proxy that was told to crash.
var errCrash = errors.New("crashing because a fault says so")

// Main runs the proxy until SIGTERM and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer klog.Flush()
	o, err := parseOptions(args, os.Getenv)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err == nil {
		setVerbosity(o.verbosity)
		err = run(ctx, o)
	}
	if err != nil {
		klog.ErrorS(err, "kube-rbac-proxy ended")
		return 1
	}
	return 0
}

func run(ctx context.Context, o *options) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	authn, authz, err := reviewers(config, o)
	if err != nil {
		return err
	}
	return serve(ctx, o, ownContainer(o), faults.FromEnvironment(ctx, container), authn, authz)
}

// ownContainer is the host of a proxy that has a container to itself.
func ownContainer(o *options) Host {
	return Host{
		ReadFile: os.ReadFile,
		Listen:   func(address string) (net.Listener, error) { return net.Listen("tcp", address) },
		Reload:   func(ctx context.Context) <-chan time.Time { return ticks(ctx, o.reloadInterval) },
		Serving:  func(http.Handler) {},
	}
}

// ticks ticks until ctx ends.
func ticks(ctx context.Context, interval time.Duration) <-chan time.Time {
	ticker := time.NewTicker(interval)
	context.AfterFunc(ctx, ticker.Stop)
	return ticker.C
}

// serve answers until ctx ends or something breaks.
func serve(
	ctx context.Context, o *options, host Host, client *faults.Client, authn authenticator.Request,
	authz authorizer.Authorizer,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if client.Source.Has(kinds.CrashLoop) {
		return errCrash
	}
	resource, err := readConfig(o.configFile, host.ReadFile)
	if err != nil {
		return err
	}
	leaf, err := newLeafSource(o.certFile, o.keyFile, host.ReadFile, client.Source)
	if err != nil {
		return err
	}
	handler := &gate{
		authn: authn, authz: authz, audiences: o.audiences, resource: resource,
		allowPaths: o.allowPaths, ignorePaths: o.ignorePaths,
		upstream: newUpstream(o.upstream, o.headers, host.Upstream), faults: client.Source,
	}
	host.Serving(handler)
	listener, err := host.listen(o.secureListenAddress, leaf, client.Source)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()

	failed := make(chan error, 8)
	client.OnChange = func(state registry.State, _ bool) {
		if _, ok := state.Get(kinds.CrashLoop); ok {
			failed <- errCrash
		}
		listener.dropConnections()
	}
	go client.Watch(ctx)
	if o.endpointsPort != 0 {
		endpoints, err := host.listenEndpoints(o, leaf, client.Source)
		if err != nil {
			return err
		}
		defer func() { _ = endpoints.Close() }()
		go func() { failed <- http.Serve(endpoints, healthz()) }()
	}
	go func() { failed <- leaf.watch(ctx, host.Reload(ctx)) }()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	defer func() { _ = server.Close() }()
	go func() { failed <- server.Serve(listener) }()
	klog.InfoS("Listening securely", "address", listener.Addr().String(), "reloadInterval", o.reloadInterval)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// listen opens a TLS port that obeys the faults.
func (h Host) listen(address string, leaf *leafSource, source *faults.Source) (*faultyListener, error) {
	l, err := h.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("opening the port: %w", err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: leaf.certificate, NextProtos: []string{"http/1.1"},
	}
	return newFaultyListener(l, config, source), nil
}

// listenEndpoints opens the port of the proxy's own endpoints, on the host of the secure address.
func (h Host) listenEndpoints(o *options, leaf *leafSource, source *faults.Source) (*faultyListener, error) {
	host, _, err := net.SplitHostPort(o.secureListenAddress)
	if err != nil {
		return nil, fmt.Errorf("parsing --secure-listen-address: %w", err)
	}
	return h.listen(net.JoinHostPort(host, strconv.Itoa(o.endpointsPort)), leaf, source)
}

// healthz says that the process runs, without asking the upstream.
func healthz() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	return mux
}
