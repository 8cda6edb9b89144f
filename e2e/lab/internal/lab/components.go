package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// component is one process of the lab.
type component struct {
	name  string
	argv  []string
	env   []string
	grace time.Duration // from SIGTERM to SIGKILL
	// healthy is nil's error when the component answers and is ready.
	healthy func(context.Context, *Env) error
}

// components lists the lab's processes in the order they are started in.
func (e *Env) components() []component {
	kube, self := e.bin("labkube"), e.bin("lab")
	pki := func(name string) string { return e.path("pki", name) }
	conf := func(name string) string { return "--kubeconfig=" + pki(name+".kubeconfig") }
	list := []component{
		{name: "etcd", healthy: httpGet("http://127.0.0.1:12379/health"), argv: []string{
			kube, "etcd", "--name=lab", "--data-dir=" + e.path("etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
			fmt.Sprintf("--listen-client-urls=http://127.0.0.1:%d", etcdPort), fmt.Sprintf("--advertise-client-urls=http://127.0.0.1:%d", etcdPort),
			fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", etcdPeer), fmt.Sprintf("--initial-advertise-peer-urls=http://127.0.0.1:%d", etcdPeer),
			fmt.Sprintf("--initial-cluster=lab=http://127.0.0.1:%d", etcdPeer),
		}},
		{name: "containerd", healthy: dialUnix(e.socket()), argv: []string{
			"containerd", "--config", e.path("containerd", "config.toml"),
		}},
		{name: "faults", healthy: httpGet(fmt.Sprintf("http://127.0.0.1:%d/healthz", faultsPort)), argv: []string{
			self, "run-faults", e.path("faults.json"), fmt.Sprintf("127.0.0.1:%d", faultsPort), fmt.Sprintf("%s:%d", BridgeIP, faultsPort),
		}},
		{name: "kube-apiserver", healthy: apiReady, argv: []string{
			kube, "kube-apiserver", fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcdPort),
			// The fence of nftables keeps other machines away from it.
			"--bind-address=0.0.0.0", "--advertise-address=" + BridgeIP, fmt.Sprintf("--secure-port=%d", apiPort),
			"--service-cluster-ip-range=" + ServiceCIDR, "--cert-dir=" + e.path("pki"),
			"--tls-cert-file=" + pki("serving.crt"), "--tls-private-key-file=" + pki("serving.key"), "--client-ca-file=" + pki("ca.crt"),
			"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
			"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + pki("sa.crt"), "--service-account-signing-key-file=" + pki("sa.key"),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--profiling=false",
			"--audit-log-path=" + e.path("audit.log"), "--audit-policy-file=" + e.path("audit-policy.yaml"),
			"--audit-log-mode=blocking", "--audit-log-maxsize=10000",
		}},
		{name: "kube-controller-manager", healthy: httpGet("https://127.0.0.1:10257/healthz"), argv: []string{
			kube, "kube-controller-manager", conf("kube-controller-manager"), "--bind-address=127.0.0.1", "--leader-elect=false",
			"--tls-cert-file=" + pki("serving.crt"), "--tls-private-key-file=" + pki("serving.key"), "--cert-dir=" + e.path("pki"),
			"--service-account-private-key-file=" + pki("sa.key"), "--root-ca-file=" + pki("ca.crt"), "--use-service-account-credentials=true",
			"--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
			"--kube-api-qps=200", "--kube-api-burst=400", "--node-monitor-period=2s", "--node-monitor-grace-period=16s",
			"--flex-volume-plugin-dir=" + e.path("kubelet", "volume-plugins"),
		}},
		{name: "kube-scheduler", healthy: httpGet("https://127.0.0.1:10259/healthz"), argv: []string{
			kube, "kube-scheduler", conf("kube-scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false",
			"--tls-cert-file=" + pki("serving.crt"), "--tls-private-key-file=" + pki("serving.key"), "--cert-dir=" + e.path("pki"),
			"--kube-api-qps=200", "--kube-api-burst=400",
		}},
		{name: "kubelet", healthy: httpGet("http://127.0.0.1:10248/healthz"), argv: []string{
			kube, "kubelet", conf("kubelet"), "--config=" + e.path("kubelet", "config.yaml"), "--root-dir=" + e.path("kubelet"),
			"--cert-dir=" + e.path("kubelet", "pki"), "--hostname-override=" + NodeName, "--node-ip=" + BridgeIP,
		}},
		{name: "kube-proxy", healthy: httpGet("http://127.0.0.1:10256/livez"), argv: []string{
			kube, "kube-proxy", conf("kube-proxy"), "--proxy-mode=nftables", "--hostname-override=" + NodeName, "--cluster-cidr=" + PodCIDR,
			"--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249", "--nodeport-addresses=127.0.0.0/8",
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		}},
		{name: "provisioner", healthy: httpGet("http://127.0.0.1:9404/healthz"), argv: []string{
			self, "run-provisioner", pki("provisioner.kubeconfig"), e.path("volumes"), "127.0.0.1:9404",
		}},
		{name: "cert-manager", healthy: httpGet("http://127.0.0.1:9403/healthz"), argv: []string{
			kube, "cert-manager", conf("cert-manager"), "--cluster-resource-namespace=cert-manager", "--healthz-address=127.0.0.1:9403",
		}},
	}
	for i := range list {
		list[i].grace = 10 * time.Second
		switch list[i].name {
		case "etcd", "kube-apiserver":
			// They wait for clients that watch them, and those never hang up.
			list[i].grace = 2 * time.Second
		}
	}
	return list
}

// component finds one by its name.
func (e *Env) component(name string) (component, error) {
	var names []string
	for _, c := range e.components() {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	return component{}, fmt.Errorf("no component %q; there are %s", name, strings.Join(names, ", "))
}

// client trusts the lab's CA and nothing else, and shows cert when not "".
func (e *Env) client(cert string) (*http.Client, error) {
	ca, err := os.ReadFile(e.path("pki", "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the lab's CA: %w", err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(ca)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(e.path("pki", cert+".crt"), e.path("pki", cert+".key"))
		if err != nil {
			return nil, fmt.Errorf("reading the certificate of %s: %w", cert, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}, nil
}

// get is healthy when the address answers 200.
func (e *Env) get(ctx context.Context, url, cert string) error {
	client, err := e.client(cert)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking for its health: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 2000)) // only for the message
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status + ": " + strings.TrimSpace(string(body)))
	}
	return nil
}

func httpGet(url string) func(context.Context, *Env) error {
	return func(ctx context.Context, e *Env) error { return e.get(ctx, url, "") }
}

func apiReady(ctx context.Context, e *Env) error {
	return e.get(ctx, fmt.Sprintf("https://127.0.0.1:%d/readyz", apiPort), "admin")
}

func dialUnix(socket string) func(context.Context, *Env) error {
	return func(ctx context.Context, _ *Env) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		return c.Close()
	}
}
