package rbacproxy

import (
	"crypto/tls"
	"io"
	"net"
	"sync"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// faultyListener wraps a TCP listener in TLS, or in what a fault asks for instead.
type faultyListener struct {
	net.Listener
	tls    *tls.Config
	faults *faults.Source

	mu   sync.Mutex
	open map[*trackedConn]struct{}
}

func newFaultyListener(l net.Listener, config *tls.Config, source *faults.Source) *faultyListener {
	return &faultyListener{Listener: l, tls: config, faults: source, open: map[*trackedConn]struct{}{}}
}

// Accept decides per connection how it is answered.
func (l *faultyListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := &trackedConn{Conn: raw, owner: l}
		l.mu.Lock()
		l.open[conn] = struct{}{}
		l.mu.Unlock()
		switch {
		case l.faults.Has(kinds.HangHandshake):
			// Nobody answers, until the client or the end of the fault closes the connection.
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
		case l.faults.Has(kinds.NoTLS):
			return conn, nil
		default:
			// http.Server knows a *tls.Conn and does the handshake off the accept loop.
			return tls.Server(conn, l.tls), nil
		}
	}
}

// dropConnections closes every connection, so that a fault that was set or lifted shows at once and not only to
// clients without a kept-alive connection.
func (l *faultyListener) dropConnections() {
	l.mu.Lock()
	conns := make([]*trackedConn, 0, len(l.open))
	for c := range l.open {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// trackedConn takes itself off its listener's list when it is closed.
type trackedConn struct {
	net.Conn
	owner *faultyListener
}

func (c *trackedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.open, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}
