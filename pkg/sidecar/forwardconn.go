package sidecar

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
)

// errorStreamWait bounds the wait for the reason of an end that the other side has already announced.
const errorStreamWait = time.Second

// forwardConn is one connection through a tunnel: a stream of data, and one on which the node says what went wrong.
type forwardConn struct {
	forwarder *forwarder
	tunnel    *tunnel
	port      int32
	data      httpstream.Stream
	errors    httpstream.Stream

	said   chan struct{} // closed when the error stream ended
	reason string        // what came on it

	closed    atomic.Bool
	closeOnce sync.Once
}

func newForwardConn(f *forwarder, t *tunnel, port int32, requestID int) (*forwardConn, error) {
	failures, err := t.conn.CreateStream(streamHeaders(corev1.StreamTypeError, port, requestID))
	if err != nil {
		return nil, fmt.Errorf("creating the error stream: %w", err)
	}
	failures.Close() //nolint:errcheck // half-close: nothing is written to it
	c := &forwardConn{forwarder: f, tunnel: t, port: port, errors: failures, said: make(chan struct{})}
	go func() {
		// Always being read: an unread stream would block its siblings in the tunnel.
		message, _ := io.ReadAll(io.LimitReader(failures, 4<<10))
		c.reason = strings.TrimSpace(string(message))
		close(c.said)
	}()
	c.data, err = t.conn.CreateStream(streamHeaders(corev1.StreamTypeData, port, requestID))
	if err != nil {
		// A node that is quick to refuse resets the stream before it was seen; why is on the other one. The caller drops the
		// tunnel: done here, it would look lost before this is told.
		if why := c.refusal(); why != nil {
			err = why
		} else {
			err = fmt.Errorf("creating the data stream: %w", err)
		}
		t.conn.RemoveStreams(failures)
		failures.Reset() //nolint:errcheck // the tunnel is dropped next
		return nil, err
	}
	return c, nil
}

// unproven marks the connection as one that is opened before anything accepted it.
func (c *forwardConn) unproven() {}

// Read reads what the pod sent; at the end it tells why, when the node said so.
func (c *forwardConn) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if err != nil {
		err = c.explain(err)
	}
	return n, err
}

// Write sends to the pod.
func (c *forwardConn) Write(p []byte) (int, error) {
	n, err := c.data.Write(p)
	if err != nil {
		err = c.explain(err)
	}
	return n, err
}

// explain says why the connection ended. A tunnel on which the node said no is of no more use, whatever the reason: nobody
// there reads what was sent for the port, and the unread data blocks the streams that come after.
func (c *forwardConn) explain(err error) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	if why := c.refusal(); why != nil {
		c.forwarder.drop(c.tunnel)
		return why
	}
	if c.tunnel.lost() {
		return errTunnelLost
	}
	return err
}

// refusal is what the node said, nil when it said nothing. Only a refused connection proves a closed port; anything else, a
// sandbox that is gone, say, tells nothing about it.
func (c *forwardConn) refusal() error {
	select {
	case <-c.said:
	case <-time.After(errorStreamWait):
		return nil
	}
	switch {
	case c.reason == "":
		return nil
	case strings.Contains(strings.ToLower(c.reason), "connection refused"):
		return ErrPortClosed
	}
	return fmt.Errorf("port-forward: %s", c.reason)
}

// Close ends the connection, not the tunnel.
func (c *forwardConn) Close() error {
	c.closeOnce.Do(func() {
		c.closed.Store(true)
		c.data.Close()   //nolint:errcheck // tells the pod that nothing more comes
		c.data.Reset()   //nolint:errcheck // frees what was sent and not read, which would block the tunnel
		c.errors.Reset() //nolint:errcheck // ends its reader
		c.tunnel.conn.RemoveStreams(c.data, c.errors)
		c.forwarder.release(c.tunnel)
	})
	return nil
}

type forwardAddr string

func (forwardAddr) Network() string  { return "port-forward" }
func (a forwardAddr) String() string { return string(a) }

// LocalAddr names the API server's side.
func (c *forwardConn) LocalAddr() net.Addr { return forwardAddr("port-forward") }

// RemoteAddr names the pod and port.
func (c *forwardConn) RemoteAddr() net.Addr {
	return forwardAddr(fmt.Sprintf("%s/%s:%d", c.tunnel.key.namespace, c.tunnel.key.pod, c.port))
}

// SetDeadline is not supported: contexts bound the calls, by closing the connection.
func (c *forwardConn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline is not supported.
func (c *forwardConn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline is not supported.
func (c *forwardConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// provoke finds out whether anybody accepted a connection by making a peer answer: servers of TLS answer a client hello,
// and so do those of HTTP, with an error. Nil means that somebody answered. Silence proves nothing.
func provoke(ctx context.Context, conn net.Conn) error {
	answered := &listeningConn{Conn: conn}
	err := tls.Client(answered, &tls.Config{
		RootCAs: x509.NewCertPool(), ServerName: "probe.invalid", MinVersion: tls.VersionTLS12,
	}).HandshakeContext(ctx)
	if answered.heard.Load() {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection ended without a word")
	}
	return err
}

// listeningConn notes whether anything was read.
type listeningConn struct {
	net.Conn
	heard atomic.Bool
}

func (c *listeningConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(true)
	}
	return n, err
}
