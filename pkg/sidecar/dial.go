package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

type directDialer struct{ dialer net.Dialer }

// DirectDialer dials the pod's IP, for a driver inside the cluster's network.
func DirectDialer() Dialer { return &directDialer{} }

// DialPod connects to the pod's IP.
func (d *directDialer) DialPod(ctx context.Context, namespace, pod, podIP string, port int32) (net.Conn, error) {
	if podIP == "" {
		return nil, fmt.Errorf("dialing pod %s/%s: it has no IP yet", namespace, pod)
	}
	conn, err := d.dialer.DialContext(ctx, "tcp", net.JoinHostPort(podIP, strconv.Itoa(int(port))))
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("dialing pod %s/%s: %w: %w", namespace, pod, ErrPortClosed, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dialing pod %s/%s: %w", namespace, pod, err)
	}
	return conn, nil
}

// unprovenConn is a connection whose dialer cannot tell whether anybody accepted it: a port-forward.
type unprovenConn interface{ unproven() }

// PortOpen says whether something accepts connections on the target's port. An error means that it is not known: a refused
// connection is the only proof of a closed port.
func (c *Connector) PortOpen(ctx context.Context, t Target) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.dialTimeout())
	defer cancel()
	conn, err := c.dial(ctx, t)
	if err == nil {
		defer conn.Close() //nolint:errcheck // nothing is kept of it
		if _, ok := conn.(unprovenConn); ok {
			err = provoke(ctx, conn)
		}
	}
	if errors.Is(err, ErrPortClosed) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("probing %s: %w", t, err)
	}
	return true, nil
}
