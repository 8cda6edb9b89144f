package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// forwardIdle is how long an unused tunnel to a pod is kept for the next call.
const forwardIdle = 30 * time.Second

// errTunnelLost says that the tunnel to a pod broke under a connection: nothing is known of the port.
var errTunnelLost = errors.New("port-forward connection lost")

// PortForwardDialer reaches pods through the API server's port-forward: websocket first, SPDY where that is refused. It
// opens no local listener. One tunnel per pod carries all its connections; it is dialed anew when it died.
func PortForwardDialer(cfg *rest.Config) (Dialer, error) {
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("building the port-forward client: %w", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("building the port-forward transport: %w", err)
	}
	client := &http.Client{Transport: transport}
	return newForwarder(func(namespace, pod string) (httpstream.Connection, error) {
		address := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).
			SubResource("portforward").URL()
		return dialTunnel(cfg, address, spdy.NewDialerForStreaming(upgrader, client, http.MethodPost, address))
	}), nil
}

// dialTunnel upgrades a request to a tunnel.
func dialTunnel(cfg *rest.Config, address *url.URL, fallback httpstream.Dialer) (httpstream.Connection, error) {
	// A websocket dialer holds the connection it made and so serves one dial only.
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreamingWithLogger(klog.Background(), address, cfg)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(websocket, fallback, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	conn, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		conn.Close() //nolint:errcheck // the wrong protocol is the error to tell
		return nil, fmt.Errorf("server speaks port-forward protocol %q, want %q", protocol, portforward.PortForwardProtocolV1Name)
	}
	return conn, nil
}

// podKey includes the IP, so that a pod's successor of the same name does not get the tunnel of its predecessor.
type podKey struct{ namespace, pod, ip string }

// forwarder keeps one tunnel per pod.
type forwarder struct {
	dial func(namespace, pod string) (httpstream.Connection, error)
	idle time.Duration

	mu      sync.Mutex
	tunnels map[podKey]*tunnel
}

func newForwarder(dial func(namespace, pod string) (httpstream.Connection, error)) *forwarder {
	return &forwarder{dial: dial, idle: forwardIdle, tunnels: map[podKey]*tunnel{}}
}

// tunnel is one upgraded connection to a pod, or the attempt to get one.
type tunnel struct {
	key   podKey
	ready chan struct{} // closed when conn or err is set
	conn  httpstream.Connection
	err   error

	// Under the forwarder's lock.
	users     int // dials and connections that use it
	requestID int
	closing   *time.Timer
}

// DialPod opens a connection to a port of the pod, through a tunnel that is there or a new one. Whether anything listens on
// the port shows only when the connection is read: a read of a closed port fails with ErrPortClosed.
func (f *forwarder) DialPod(ctx context.Context, namespace, pod, podIP string, port int32) (net.Conn, error) {
	key := podKey{namespace, pod, podIP}
	for {
		t, reused := f.acquire(key)
		conn, err := f.open(ctx, t, port)
		if err == nil {
			return conn, nil
		}
		if t.settled() {
			f.drop(t)
		}
		f.release(t)
		// A kept tunnel may have died unnoticed; a new one, or one that carried an answer, gets no second chance.
		if !reused || ctx.Err() != nil || errors.Is(err, ErrPortClosed) {
			return nil, fmt.Errorf("port-forward to pod %s/%s: %w", namespace, pod, err)
		}
	}
}

// acquire takes a use of the pod's tunnel, dialing one when there is none alive.
func (f *forwarder) acquire(key podKey) (t *tunnel, reused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t = f.tunnels[key]; t != nil && !t.dead() {
		t.users++
		if t.closing != nil {
			t.closing.Stop()
			t.closing = nil
		}
		return t, true
	}
	t = &tunnel{key: key, ready: make(chan struct{}), users: 1}
	f.tunnels[key] = t
	go func() { // client-go's dialers know no context; who gives up waiting leaves the tunnel to the next
		t.conn, t.err = f.dial(key.namespace, key.pod)
		close(t.ready)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.tunnels[key] != t && t.conn != nil {
			t.conn.Close() //nolint:errcheck // dropped while it was dialed
		}
	}()
	return t, false
}

// settled says whether the attempt to dial the tunnel has ended.
func (t *tunnel) settled() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// dead says whether a tunnel is known to be of no use.
func (t *tunnel) dead() bool { return t.settled() && (t.err != nil || t.lost()) }

// lost says whether an established tunnel broke.
func (t *tunnel) lost() bool {
	select {
	case <-t.conn.CloseChan():
		return true
	default:
		return false
	}
}

// drop takes a tunnel out of use and closes it.
func (f *forwarder) drop(t *tunnel) {
	f.mu.Lock()
	if f.tunnels[t.key] == t {
		delete(f.tunnels, t.key)
	}
	f.mu.Unlock()
	if t.settled() && t.conn != nil { // else who dials it will see that it was dropped
		t.conn.Close() //nolint:errcheck // it is of no use any more
	}
}

// release gives a use back; the last one starts the idle time.
func (f *forwarder) release(t *tunnel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.users--
	if t.users > 0 || f.tunnels[t.key] != t {
		return
	}
	t.closing = time.AfterFunc(f.idle, func() {
		f.mu.Lock()
		unused := t.users == 0
		f.mu.Unlock()
		if unused {
			f.drop(t)
		}
	})
}

// open waits for the tunnel and opens the two streams of a connection in it.
func (f *forwarder) open(ctx context.Context, t *tunnel, port int32) (*forwardConn, error) {
	select {
	case <-t.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the API server to open the tunnel: %w", context.Cause(ctx))
	}
	if t.err != nil {
		return nil, t.err
	}
	f.mu.Lock()
	t.requestID++
	id := t.requestID
	f.mu.Unlock()
	type opened struct {
		conn *forwardConn
		err  error
	}
	result := make(chan opened, 1)
	go func() { // creating a stream waits for its reply, up to 30 s and without a context; dropping the tunnel ends it
		conn, err := newForwardConn(f, t, port, id)
		result <- opened{conn, err}
	}()
	select {
	case r := <-result:
		return r.conn, r.err
	case <-t.conn.CloseChan():
		return nil, errTunnelLost
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the pod's node to open a stream: %w", context.Cause(ctx))
	}
}

func streamHeaders(streamType string, port int32, requestID int) http.Header {
	headers := http.Header{}
	headers.Set(corev1.StreamType, streamType)
	headers.Set(corev1.PortHeader, fmt.Sprint(port))
	headers.Set(corev1.PortForwardRequestIDHeader, fmt.Sprint(requestID))
	return headers
}
