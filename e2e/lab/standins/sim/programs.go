package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	registry "sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/internal/rbacproxy"
	"sei.io/seictl/e2e/lab/standins/internal/seid"
	"sei.io/seictl/e2e/lab/standins/internal/sidecar"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// image is what the lab's image of a name holds.
type image struct {
	program func(*Simulator, context.Context, *run) error
	version string
}

// images are those that can be pulled.
var images = map[string]image{
	"lab.invalid/seid:v1":                 {(*Simulator).seid, "v1"},
	"lab.invalid/seid:v2":                 {(*Simulator).seid, "v2"},
	"lab.invalid/seid:v3":                 {(*Simulator).seid, "v3"},
	"lab.invalid/seid:crash":              {(*Simulator).seid, crashVersion},
	"lab.invalid/sei-sidecar:v1":          {(*Simulator).sidecar, "v1"},
	"lab.invalid/sei-sidecar:v2":          {(*Simulator).sidecar, "v2"},
	"lab.invalid/kube-rbac-proxy:v0.21.0": {(*Simulator).proxy, "v0.21.0"},
	"lab.invalid/seictl:dev":              {(*Simulator).seictl, "dev"},
}

// crashVersion is the version of the seid that crashes at once.
const crashVersion = "crash"

func pullable(name string) bool {
	_, ok := images[name]
	return ok
}

// run is what a program may know of the container it runs in.
type run struct {
	pod     *pod
	spec    corev1.Container
	net     *network
	volumes map[string]*volume
	killed  <-chan struct{}
	version string
}

// execute runs a container's program to its end.
func (s *Simulator) execute(ctx context.Context, c *container, r *process, volumes map[string]*volume) error {
	img := images[c.spec.Image]
	return img.program(s, ctx, &run{
		pod: c.pod, spec: c.spec, net: c.pod.net, volumes: volumes, killed: r.killed, version: img.version,
	})
}

// env reads a variable of the container.
func (r *run) env(name string) string {
	for _, v := range slices.Backward(r.spec.Env) {
		switch {
		case v.Name != name:
		case v.ValueFrom != nil:
			return r.field(v.ValueFrom)
		default:
			return v.Value
		}
	}
	return ""
}

// home is the directory on the machine of a directory in the container.
func (r *run) home(name string) (string, error) {
	if dir := directory(r.spec.VolumeMounts, r.volumes, name); dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("%s is on no volume", name)
}

// faults asks the registry about the container.
func (r *run) faults(ctx context.Context) *faults.Client {
	return faults.Asked(ctx, follower{r})
}

// follower is the fault registry of this process for one container.
type follower struct{ *run }

// Get reads what is set now.
func (f follower) Get(context.Context) (registry.State, error) {
	return f.pod.sim.faults.State(f.pod.obj.Namespace, f.pod.obj.Name, f.spec.Name), nil
}

// Watch tells what is set now and every change, until ctx ends.
func (f follower) Watch(ctx context.Context, changed func(registry.State)) {
	states := make(chan registry.State, 1)
	end := f.pod.sim.faults.Follow(f.pod.obj.Namespace, f.pod.obj.Name, f.spec.Name, func(s registry.State) {
		select {
		case <-states: // only the newest counts
		default:
		}
		states <- s
	})
	defer end()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-states:
			changed(s)
			f.pod.change()
		}
	}
}

// seid is the seid image: its shell runs either `seid init` or, behind the start gate, `seid start`.
func (s *Simulator) seid(ctx context.Context, r *run) error {
	home, err := r.home(r.env("HOME"))
	if err != nil {
		return err
	}
	script := strings.Join(append(slices.Clone(r.spec.Command), r.spec.Args...), " ")
	switch {
	case strings.Contains(script, "seid init"):
		return seid.Init(home, r.env("SEI_NODE_NAME"), r.env("SEI_CHAIN_ID"))
	case !strings.Contains(script, "seid start"):
		return exitError(127)
	}
	if err := r.gate(ctx); err != nil {
		return err
	}
	settings := s.settings.get()
	node := seid.Embedded{
		Home: home, Version: r.version, Hostname: r.pod.obj.Name, PodUID: string(r.pod.obj.UID), Crash: r.version == crashVersion,
		Opening: time.Duration(settings.Start), Closing: time.Duration(settings.Stop), Killed: r.killed, Changed: r.pod.change,
	}
	var handler http.Handler
	node.Serving = func(h http.Handler) { handler = h }
	node.Listen = func(address string) (net.Listener, error) { return r.net.listen(address, plainHTTP(handler)) }
	return node.Run(ctx, r.faults(ctx))
}

// gate waits until the sidecar says that seid may start.
func (r *run) gate(ctx context.Context) error {
	for {
		changed := r.pod.watch()
		if r.released(ctx) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return exitError(143)
		}
	}
}

// released says whether the sidecar says, over the pod's loopback, that seid may start.
func (r *run) released(ctx context.Context) bool {
	port, err := strconv.Atoi(r.env("SEI_SIDECAR_PORT"))
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	answer, err := r.net.get(ctx, port, "http", "127.0.0.1", "/v0/healthz")
	return err == nil && answer.Code == http.StatusOK
}

// sidecar is the sei-sidecar image.
func (s *Simulator) sidecar(ctx context.Context, r *run) error {
	config, err := sidecar.FromEnvironment(r.env)
	if err != nil {
		return err
	}
	if config.Home, err = r.home(config.Home); err != nil {
		return err
	}
	config.Version, config.Log, config.Changed = r.version, slog.New(slog.DiscardHandler), r.pod.change
	var handler http.Handler
	return sidecar.Run(ctx, config, sidecar.Host{
		Serving: func(h http.Handler) { handler = h },
		Listen: func(address string) (net.Listener, error) {
			defer r.pod.change()
			return r.net.listen(address, plainHTTP(handler))
		},
	}, r.faults(ctx))
}

// proxy is the kube-rbac-proxy image. It asks for reviews as the pod's ServiceAccount.
func (s *Simulator) proxy(ctx context.Context, r *run) error {
	client := r.faults(ctx)
	var handler http.Handler
	return rbacproxy.Run(ctx, r.spec.Args, s.as(r.pod.obj.Namespace, r.pod.obj.Spec.ServiceAccountName), rbacproxy.Host{
		ReadFile: func(name string) ([]byte, error) { return readFile(r.spec.VolumeMounts, r.volumes, name) },
		Serving:  func(h http.Handler) { handler = h },
		Listen: func(address string) (net.Listener, error) {
			defer r.pod.change()
			return r.net.listen(address, proxied(handler, client.Source))
		},
		Reload: r.reload,
		Upstream: &http.Transport{
			DisableKeepAlives: true, // thousands of idle connections are of no use
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				_, port, err := splitAddress(address)
				if err != nil {
					return nil, err
				}
				return r.net.dial(ctx, port)
			},
		},
	}, client)
}

// reload ticks when something in the pod changed, files included.
func (r *run) reload(ctx context.Context) <-chan time.Time {
	ticks := make(chan time.Time)
	go func() {
		for {
			changed := r.pod.watch()
			select {
			case ticks <- time.Now():
			case <-ctx.Done():
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ticks
}

// as is the configuration of a client that is a ServiceAccount.
func (s *Simulator) as(namespace, account string) *rest.Config {
	if account == "" {
		account = "default"
	}
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
	return config
}

// plainHTTP answers probes of a port that talks HTTP.
func plainHTTP(h http.Handler) prober {
	return func(r *http.Request) (*httptest.ResponseRecorder, error) {
		if r.URL.Scheme != "http" {
			return nil, errors.New("server gave HTTP response to HTTPS client")
		}
		return serve(h, r)
	}
}

// proxied answers probes of the proxy's port, as far as its faults let it.
func proxied(h http.Handler, source *faults.Source) prober {
	return func(r *http.Request) (*httptest.ResponseRecorder, error) {
		if source.Has(kinds.HangHandshake) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		if source.Has(kinds.NoTLS) == (r.URL.Scheme == "https") {
			return nil, errors.New("the port does not talk " + r.URL.Scheme)
		}
		return serve(h, r)
	}
}

// serve has a handler answer without a connection.
func serve(h http.Handler, r *http.Request) (*httptest.ResponseRecorder, error) {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer, r.Context().Err()
}

// caughtUp asks seid whether it has caught up, as the readiness script does.
func caughtUp(ctx context.Context, n *network) bool {
	answer, err := n.get(ctx, seid.RPCPort, "http", "127.0.0.1", "/status")
	return err == nil && bytes.Contains(answer.Body.Bytes(), []byte(`"catching_up":false`))
}
