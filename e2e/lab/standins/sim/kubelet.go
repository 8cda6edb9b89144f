package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

// What a kubelet allows a port-forward.
const (
	forwardIdle     = 4 * time.Hour
	forwardCreation = 30 * time.Second
)

// Kubelet serves what the API server asks kubelets for: port-forwards. The caller sees to it that only the API server may
// ask.
func (s *Simulator) Kubelet() http.Handler {
	mux := http.NewServeMux()
	forward := func(w http.ResponseWriter, r *http.Request) {
		p := s.byName(r.PathValue("namespace"), r.PathValue("pod"))
		if uid := r.PathValue("uid"); p == nil || uid != "" && uid != string(p.obj.UID) {
			http.Error(w, "pod does not exist", http.StatusNotFound)
			return
		}
		portforward.ServePortForward(w, r, forwarder{p}, p.key(), string(p.obj.UID), nil, forwardIdle, forwardCreation,
			[]string{portforward.ProtocolV1Name})
	}
	mux.HandleFunc("/portForward/{namespace}/{pod}", forward)
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", forward)
	return mux
}

// forwarder connects streams with the ports of a pod.
type forwarder struct{ *pod }

// PortForward carries one connection until either side ends it.
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer func() { _ = stream.Close() }()
	f.mu.Lock()
	network := f.net
	f.mu.Unlock()
	if network == nil {
		return errors.New("the pod's sandbox is not running")
	}
	conn, err := network.dial(ctx, int(port))
	if err != nil {
		return fmt.Errorf("failed to connect to localhost:%d inside the pod, IPv4: %w", port, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(conn, stream) // its end is the client's business
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}()
	received := make(chan struct{})
	go func() {
		defer close(received)
		_, _ = io.Copy(stream, conn)
	}()
	select {
	case <-received:
	case <-sent:
		// The client said all it had to say: the answer may still be on its way.
		select {
		case <-received:
		case <-time.After(time.Second):
		}
	}
	return nil
}
