package sidecar

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gwebsocket "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// node plays API server and kubelet: every pod is 127.0.0.1.
type node struct {
	websocket bool
	// failure, when set, is what every forward fails with.
	failure atomic.Pointer[string]

	mu      sync.Mutex
	tunnels []httpstream.Connection
	paths   []string
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	streams := make(chan httpstream.Stream, 16)
	received := func(s httpstream.Stream, _ <-chan struct{}) error { streams <- s; return nil }
	var conn httpstream.Connection
	switch {
	case r.Method == http.MethodGet && n.websocket:
		upgrader := gwebsocket.Upgrader{Subprotocols: []string{"SPDY/3.1+" + portforward.PortForwardProtocolV1Name}}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		if conn, err = spdy.NewServerConnection(portforward.NewTunnelingConnection("server", ws), received); err != nil {
			return
		}
	case r.Method == http.MethodPost:
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			return
		}
		conn = spdy.NewResponseUpgrader().UpgradeResponse(w, r, received)
	default:
		http.Error(w, "no websockets here", http.StatusBadRequest)
		return
	}
	n.mu.Lock()
	n.tunnels, n.paths = append(n.tunnels, conn), append(n.paths, r.Method+" "+r.URL.Path)
	n.mu.Unlock()
	defer conn.Close()
	waiting := map[string]httpstream.Stream{}
	for {
		select {
		case <-conn.CloseChan():
			return
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				waiting[id] = s
				continue
			}
			go n.forward(s, waiting[id])
		}
	}
}

func (n *node) forward(data, failures httpstream.Stream) {
	defer data.Close()
	defer failures.Close()
	port := data.Headers().Get(corev1.PortHeader)
	fail := func(why string) {
		fmt.Fprintf(failures, "error forwarding port %s to pod x, uid : %s", port, why)
		data.Reset()
		failures.Reset()
	}
	if why := n.failure.Load(); why != nil {
		fail(*why)
		return
	}
	conn, err := net.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		fail("failed to connect to localhost:" + port + " inside namespace: " + err.Error())
		return
	}
	defer conn.Close()
	go func() {
		io.Copy(conn, data)
		conn.Close()
	}()
	io.Copy(data, conn)
}

func (n *node) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.tunnels)
}

func (n *node) breakTunnels() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.tunnels {
		c.Close()
	}
}

func (n *node) start(t *testing.T) *Connector {
	t.Helper()
	server := httptest.NewServer(n)
	t.Cleanup(server.Close)
	t.Cleanup(n.breakTunnels)
	dialer, err := PortForwardDialer(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	return &Connector{Dialer: dialer, Tokens: &fixedToken{}}
}

func TestPortForward(t *testing.T) {
	w := newWorld(t)
	for name, websocket := range map[string]bool{"websocket": true, "SPDY, websocket refused": false} {
		t.Run(name, func(t *testing.T) {
			n := &node{websocket: websocket}
			c := n.start(t)
			p, target := serve(t, &w.leaf, http.HandlerFunc(ok))
			target.TLS.Leaf, target.TLS.CAs = w.leaf.cert, []*x509.Certificate{w.ca.cert}
			_, err := c.Handshake(t.Context(), target)
			require.NoError(t, err)
			client := c.Open(target)
			for range 3 {
				code, err := client.Status(t.Context())
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, code)
			}
			client.Close()
			require.Equal(t, "Bearer "+testToken, p.requests[0].Header.Get("Authorization"))
			require.Equal(t, 1, n.count(), "one tunnel per pod")
			method := map[bool]string{true: "GET", false: "POST"}[websocket]
			require.Equal(t, method+" /api/v1/namespaces/sei/pods/node-0/portforward", n.paths[0])
		})
	}
}

func TestPortForwardConcurrentCalls(t *testing.T) {
	n := &node{websocket: true}
	c := n.start(t)
	_, target := serve(t, nil, http.HandlerFunc(ok))
	client := c.Open(target)
	defer client.Close()
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if _, err := client.Healthz(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	require.Equal(t, 1, n.count())
}

func TestPortForwardSurvivesADeadTunnel(t *testing.T) {
	n := &node{websocket: true}
	c := n.start(t)
	_, target := serve(t, nil, http.HandlerFunc(ok))
	for want := 1; want <= 3; want++ {
		client := c.Open(target)
		_, err := client.Healthz(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, n.count())
		client.Close()
		tunnel := c.Dialer.(*forwarder).tunnels[podKey{"sei", "node-0", "127.0.0.1"}]
		n.breakTunnels()
		<-tunnel.conn.CloseChan()
	}
}

// unwilling is a tunnel that died without a sign.
type unwilling struct {
	httpstream.Connection
	hang bool
	once sync.Once
	done chan bool
}

func (u *unwilling) CreateStream(http.Header) (httpstream.Stream, error) {
	if u.hang {
		u.Close() // dies under the request
		select {}
	}
	return nil, io.ErrClosedPipe
}
func (u *unwilling) CloseChan() <-chan bool { return u.done }
func (u *unwilling) Close() error           { u.once.Do(func() { close(u.done) }); return nil }

func TestPortForwardReplacesATunnelThatDiedUnnoticed(t *testing.T) {
	for name, hang := range map[string]bool{"refuses streams": false, "breaks meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			dials := 0
			f := newForwarder(func(string, string) (httpstream.Connection, error) {
				dials++
				return nil, io.EOF
			})
			key := podKey{"sei", "node-0", ""}
			old := &tunnel{key: key, ready: make(chan struct{}), conn: &unwilling{hang: hang, done: make(chan bool)}}
			close(old.ready)
			f.tunnels[key] = old
			_, err := f.DialPod(t.Context(), "sei", "node-0", "", 1)
			require.ErrorIs(t, err, io.EOF, "the new tunnel's error")
			require.Equal(t, 1, dials, "and it gets no second chance")
			<-old.conn.CloseChan()
		})
	}
}

func TestPortForwardSuccessorGetsItsOwnTunnel(t *testing.T) {
	n := &node{websocket: true}
	c := n.start(t)
	_, target := serve(t, nil, http.HandlerFunc(ok))
	for i, ip := range []string{"10.0.0.1", "10.0.0.2"} {
		target.PodIP = ip
		client := c.Open(target)
		_, err := client.Healthz(t.Context())
		require.NoError(t, err)
		client.Close()
		require.Equal(t, i+1, n.count())
	}
}

func TestPortForwardPortOpen(t *testing.T) {
	n := &node{websocket: true}
	c := n.start(t)
	c.DialTimeout = 5 * time.Second
	w := newWorld(t)
	_, overTLS := serve(t, &w.leaf, http.HandlerFunc(ok))
	_, plain := serve(t, nil, http.HandlerFunc(ok))
	for _, target := range []Target{overTLS, plain} {
		open, err := c.PortOpen(t.Context(), target)
		require.NoError(t, err)
		require.True(t, open)
	}
	closed := closedPort(t)
	open, err := c.PortOpen(t.Context(), closed)
	require.NoError(t, err)
	require.False(t, open)
	open, err = c.PortOpen(t.Context(), plain)
	require.NoError(t, err)
	require.True(t, open)
	require.Equal(t, 2, n.count(), "what was sent for a closed port is never read and would block the tunnel")

	_, err = c.PortOpen(t.Context(), listen(t, func(net.Conn) {}))
	require.ErrorContains(t, err, "without a word", "unknown is not closed")

	c.DialTimeout = 50 * time.Millisecond
	_, err = c.PortOpen(t.Context(), listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }))
	require.ErrorIs(t, err, context.DeadlineExceeded, "silence is not closed")

	c.DialTimeout = 5 * time.Second
	gone := "sandbox is not running"
	n.failure.Store(&gone)
	_, err = c.PortOpen(t.Context(), closed)
	require.ErrorContains(t, err, gone)
	n.failure.Store(nil)
	open, err = c.PortOpen(t.Context(), plain)
	require.NoError(t, err)
	require.True(t, open)
	require.Greater(t, n.count(), 2, "a failing tunnel is replaced")
}

func TestPortForwardClosedPortDeliversNothing(t *testing.T) {
	n := &node{websocket: true}
	c := n.start(t)
	target := closedPort(t)
	client := c.Open(target)
	defer client.Close()
	err := client.PostTask(t.Context(), "1", "mark-ready", nil)
	require.ErrorIs(t, err, ErrPortClosed)
	require.False(t, DeliveryUnknown(err))

	target.TLS = &TLSTarget{ServerName: testName}
	_, err = c.Handshake(t.Context(), target)
	require.ErrorIs(t, err, ErrPortClosed)
	require.NotErrorIs(t, err, ErrNotTLS)
}

func TestPortForwardLostTunnelLeavesDeliveryUnknown(t *testing.T) {
	n := &node{websocket: true}
	c := n.start(t)
	target := listen(t, func(conn net.Conn) {
		readRequest(conn)
		n.breakTunnels()
		io.Copy(io.Discard, conn)
	})
	client := c.Open(target)
	defer client.Close()
	err := client.PostTask(t.Context(), "1", "mark-ready", nil)
	require.Error(t, err)
	require.True(t, DeliveryUnknown(err), "%v", err)
}

func TestPortForwardIdleTunnelIsClosed(t *testing.T) {
	n := &node{websocket: true}
	c := n.start(t)
	c.Dialer.(*forwarder).idle = time.Millisecond
	_, target := serve(t, nil, http.HandlerFunc(ok))
	client := c.Open(target)
	_, err := client.Healthz(t.Context())
	require.NoError(t, err)
	client.Close()
	select {
	case <-n.tunnels[0].CloseChan():
	case <-time.After(10 * time.Second):
		t.Fatal("the idle tunnel stays open")
	}
}

func TestPortForwardGivesUpWithItsContext(t *testing.T) {
	block := make(chan struct{})
	f := newForwarder(func(string, string) (httpstream.Connection, error) {
		<-block
		return nil, io.EOF
	})
	defer close(block)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := f.DialPod(ctx, "sei", "node-0", "", 8443)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestPortForwardRefusedByAPIServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"pods/portforward is forbidden","code":403}`)
	}))
	t.Cleanup(server.Close)
	dialer, err := PortForwardDialer(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	_, err = (&Connector{Dialer: dialer}).PortOpen(t.Context(), Target{Namespace: "sei", PodName: "node-0", Port: 8443})
	require.ErrorContains(t, err, "pods/portforward is forbidden")
}
