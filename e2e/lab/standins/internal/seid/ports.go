package seid

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Ports of a Sei node.
const (
	portP2P    = 26656
	portRPC    = 26657
	portEVM    = 8545
	portEVMWS  = 8546
	portGRPC   = 9090
	portREST   = 1317
	headerTime = 10 * time.Second
)

// ports are the open ports of one seid.
type ports struct {
	all []port
}

type port struct {
	listener net.Listener
	// server answers HTTP; a port without one accepts connections and closes them.
	server *http.Server
}

// listen opens every port before any is served, so that an answering port means that all are there.
func listen(host string, n *node) (*ports, error) {
	handlers := []struct {
		port    int
		handler http.Handler
	}{
		{portP2P, nil},
		{portGRPC, nil},
		{portREST, n.restAPI()},
		{portEVM, n.evmRPC()},
		{portEVMWS, n.evmRPC()},
		{portRPC, n.cometRPC()},
	}
	p := &ports{}
	for _, h := range handlers {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(h.port)))
		if err != nil {
			p.close()
			return nil, fmt.Errorf("opening a port: %w", err)
		}
		opened := port{listener: l}
		if h.handler != nil {
			opened.server = &http.Server{Handler: h.handler, ReadHeaderTimeout: headerTime}
		}
		p.all = append(p.all, opened)
	}
	return p, nil
}

// start serves every port in the background and reports what breaks; failed must have room for one error a port.
func (p *ports) start(failed chan<- error) {
	for _, o := range p.all {
		go func() {
			if err := o.serve(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving %s: %w", o.listener.Addr(), err)
			}
		}()
	}
}

func (o port) serve() error {
	if o.server != nil {
		return o.server.Serve(o.listener)
	}
	for {
		conn, err := o.listener.Accept()
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
}

// close ends every port and connection; closing twice does no harm.
func (p *ports) close() {
	for _, o := range p.all {
		if o.server != nil {
			_ = o.server.Close()
		}
		_ = o.listener.Close()
	}
}
