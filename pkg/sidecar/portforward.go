package sidecar

import (
	"context"
	"errors"
	"net"

	"k8s.io/client-go/rest"
)

// PortForwardDialer reaches pods through the API server's port-forward: websocket first, SPDY where that is refused.
func PortForwardDialer(cfg *rest.Config) (Dialer, error) {
	return nil, errors.New("not there yet")
}

func provoke(ctx context.Context, conn net.Conn) error { return nil }
