// Command labsim plays the kubelets of the lab's sim tier, and holds its fault registry.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"sei.io/seictl/e2e/lab/internal/faultreg"
	"sei.io/seictl/e2e/lab/standins/sim"
)

// options are the command line.
type options struct {
	kubeconfig, faultsFile, address string
	seictl                          string
	kubeletPort, nodes, network     int
	certFile, keyFile, clientCAFile string
	start, stop, sync               time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "file with the API server and an administrator's credential")
	flag.StringVar(&o.faultsFile, "faults-file", "", "where the fault registry keeps what is set")
	flag.StringVar(&o.address, "address", "127.0.0.1:19900", "where the fault registry and the settings are served")
	flag.IntVar(&o.kubeletPort, "kubelet-port", 20250, "port of the nodes, for port-forwards")
	flag.IntVar(&o.nodes, "nodes", 3, "how many nodes there are")
	flag.StringVar(&o.seictl, "seictl", "seictl", "the binary that the operator's image runs")
	flag.IntVar(&o.network, "network", 77, "pods get addresses of 127.<network>.0.0/16")
	flag.StringVar(&o.certFile, "tls-cert-file", "", "certificate of the nodes' port")
	flag.StringVar(&o.keyFile, "tls-private-key-file", "", "its key")
	flag.StringVar(&o.clientCAFile, "client-ca-file", "", "who has a certificate of this CA may use the nodes' port")
	flag.DurationVar(&o.start, "start", 0, "how long seid takes to start")
	flag.DurationVar(&o.stop, "stop", 0, "how long seid takes to stop")
	flag.DurationVar(&o.sync, "sync", time.Second, "how long a change of a Secret takes to reach the pods that mount it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "labsim:", err)
		os.Exit(1)
	}
}

// run simulates until ctx ends or something breaks.
func run(ctx context.Context, o options) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	registry, err := faultreg.Open(o.faultsFile)
	if err != nil {
		return fmt.Errorf("opening the fault registry: %w", err)
	}
	simulator, err := sim.New(sim.Options{
		Config: config, Faults: registry, Nodes: o.nodes, KubeletPort: o.kubeletPort, Network: byte(o.network), Binary: o.seictl, Log: slog.Default(),
		Settings: sim.Settings{Start: sim.Duration(o.start), Stop: sim.Duration(o.stop), Sync: sim.Duration(o.sync)},
	})
	if err != nil {
		return err
	}
	kubelet, err := kubeletServer(o, simulator.Kubelet())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", registry.Handler())
	mux.Handle("/sim/", simulator.Handler())
	local := &http.Server{Addr: o.address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	failed := make(chan error, 3)
	context.AfterFunc(ctx, func() {
		_ = local.Close()
		_ = kubelet.Close()
	})
	go func() { failed <- local.ListenAndServe() }()
	go func() { failed <- kubelet.ListenAndServeTLS(o.certFile, o.keyFile) }()
	go func() { failed <- simulator.Run(ctx) }()
	select {
	case <-ctx.Done():
		return nil // what still runs ends with the process
	case err := <-failed:
		return err
	}
}

// kubeletServer serves the nodes' port to those with a certificate of the client CA. Upgrades need HTTP/1.1.
func kubeletServer(o options, handler http.Handler) (*http.Server, error) {
	ca, err := os.ReadFile(o.clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the client CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", o.clientCAFile)
	}
	return &http.Server{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.kubeletPort)), Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"http/1.1"},
		},
	}, nil
}
