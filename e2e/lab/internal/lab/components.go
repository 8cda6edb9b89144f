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
	list := e.realComponents
	if e.sim() {
		list = e.simComponents
	}
	all := list()
	for i := range all {
		all[i].grace = 10 * time.Second
		switch all[i].name {
		case "etcd", "kube-apiserver":
			// They wait for clients that watch them, and those never hang up.
			all[i].grace = 2 * time.Second
		}
	}
	return all
}

// pki names a file of the lab's PKI.
func (e *Env) pki(name string) string { return e.path("pki", name) }

// kubeconfigFlag is the flag with a component's kubeconfig.
func (e *Env) kubeconfigFlag(name string) string { return "--kubeconfig=" + e.pki(name+".kubeconfig") }

// healthz is healthy when the port of this machine answers 200.
func healthz(scheme string, port int, path string) func(context.Context, *Env) error {
	return httpGet(fmt.Sprintf("%s://127.0.0.1:%d/%s", scheme, port, path))
}

func (e *Env) etcd() component {
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", e.ports.etcd), fmt.Sprintf("http://127.0.0.1:%d", e.ports.etcdPeer)
	return component{name: "etcd", healthy: healthz("http", e.ports.etcd, "health"), argv: []string{
		e.bin("labkube"), "etcd", "--name=lab", "--data-dir=" + e.path("etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=lab=" + peer,
	}}
}

// apiServer takes the flags about its address.
func (e *Env) apiServer(address ...string) component {
	argv := append([]string{e.bin("labkube"), "kube-apiserver", fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", e.ports.etcd)}, address...)
	return component{name: "kube-apiserver", healthy: apiReady, argv: append(argv,
		fmt.Sprintf("--secure-port=%d", e.ports.api),
		"--service-cluster-ip-range="+ServiceCIDR, "--cert-dir="+e.path("pki"),
		"--tls-cert-file="+e.pki("serving.crt"), "--tls-private-key-file="+e.pki("serving.key"), "--client-ca-file="+e.pki("ca.crt"),
		"--kubelet-client-certificate="+e.pki("apiserver-kubelet-client.crt"), "--kubelet-client-key="+e.pki("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+e.pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+e.pki("sa.crt"), "--service-account-signing-key-file="+e.pki("sa.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--profiling=false",
		"--audit-log-path="+e.path("audit.log"), "--audit-policy-file="+e.path("audit-policy.yaml"),
		"--audit-log-mode=blocking", "--audit-log-maxsize=10000",
	)}
}

func (e *Env) controllerManager(more ...string) component {
	return component{
		name: "kube-controller-manager", healthy: healthz("https", e.ports.controllerManager, "healthz"), argv: append([]string{
			e.bin("labkube"), "keep", "kube-controller-manager", e.kubeconfigFlag("kube-controller-manager"), "--bind-address=127.0.0.1", "--leader-elect=false",
			"--tls-cert-file=" + e.pki("serving.crt"), "--tls-private-key-file=" + e.pki("serving.key"), "--cert-dir=" + e.path("pki"),
			"--service-account-private-key-file=" + e.pki("sa.key"), "--root-ca-file=" + e.pki("ca.crt"), "--use-service-account-credentials=true",
			"--cluster-signing-cert-file=" + e.pki("ca.crt"), "--cluster-signing-key-file=" + e.pki("ca.key"),
			"--kube-api-qps=200", "--kube-api-burst=400",
		}, more...),
	}
}

func (e *Env) scheduler(more ...string) component {
	return component{name: "kube-scheduler", healthy: healthz("https", e.ports.scheduler, "healthz"), argv: append([]string{
		e.bin("labkube"), "keep", "kube-scheduler", e.kubeconfigFlag("kube-scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false",
		"--tls-cert-file=" + e.pki("serving.crt"), "--tls-private-key-file=" + e.pki("serving.key"), "--cert-dir=" + e.path("pki"),
		"--kube-api-qps=200", "--kube-api-burst=400",
	}, more...)}
}

func (e *Env) provisioner() component {
	address := fmt.Sprintf("127.0.0.1:%d", e.ports.provisioner)
	return component{name: "provisioner", healthy: httpGet("http://" + address + "/healthz"), argv: []string{
		e.bin("lab"), "run-provisioner", e.pki("provisioner.kubeconfig"), e.path("volumes"), address,
	}}
}

func (e *Env) certManager() component {
	address := fmt.Sprintf("127.0.0.1:%d", e.ports.certManager)
	return component{name: "cert-manager", healthy: httpGet("http://" + address + "/healthz"), argv: []string{
		e.bin("labkube"), "cert-manager", e.kubeconfigFlag("cert-manager"), "--cluster-resource-namespace=cert-manager", "--healthz-address=" + address,
	}}
}

// realComponents are those of a cluster with a kubelet.
func (e *Env) realComponents() []component {
	kube, self := e.bin("labkube"), e.bin("lab")
	return []component{
		e.etcd(),
		{name: "containerd", healthy: dialUnix(e.socket()), argv: []string{
			"containerd", "--config", e.path("containerd", "config.toml"),
		}},
		{name: "faults", healthy: healthz("http", e.ports.faults, "healthz"), argv: []string{
			self, "run-faults", e.path("faults.json"), fmt.Sprintf("127.0.0.1:%d", e.ports.faults), fmt.Sprintf("%s:%d", BridgeIP, e.ports.faults),
		}},
		// The fence of nftables keeps other machines away from it.
		e.apiServer("--bind-address=0.0.0.0", "--advertise-address="+BridgeIP),
		e.controllerManager("--node-monitor-period=2s", "--node-monitor-grace-period=16s",
			"--flex-volume-plugin-dir="+e.path("kubelet", "volume-plugins")),
		e.scheduler(),
		{name: "kubelet", healthy: httpGet("http://127.0.0.1:10248/healthz"), argv: []string{
			kube, "kubelet", e.kubeconfigFlag("kubelet"), "--config=" + e.path("kubelet", "config.yaml"), "--root-dir=" + e.path("kubelet"),
			"--cert-dir=" + e.path("kubelet", "pki"), "--hostname-override=" + NodeName, "--node-ip=" + BridgeIP,
		}},
		{name: "kube-proxy", healthy: httpGet("http://127.0.0.1:10256/livez"), argv: []string{
			kube, "kube-proxy", e.kubeconfigFlag("kube-proxy"), "--proxy-mode=nftables", "--hostname-override=" + NodeName, "--cluster-cidr=" + PodCIDR,
			"--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249", "--nodeport-addresses=127.0.0.0/8",
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		}},
		e.provisioner(),
		e.certManager(),
		e.dns(),
	}
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
	return e.get(ctx, fmt.Sprintf("https://127.0.0.1:%d/readyz", e.ports.api), "admin")
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
