package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"syscall"
)

// network is what the containers of a pod share: the ports of the pod's address, and those of its loopback.
type network struct {
	ip string

	mu    sync.Mutex
	ports map[int]*openPort
}

// openPort is a port that something listens on.
type openPort struct {
	net.Listener
	network *network
	number  int
	// probe answers a request as a kubelet would make it.
	probe prober
	// loopback is where connections from within the pod come in; nil when the port is open on the pod's address.
	loopback chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

// prober makes a request without a connection: the answer, or why there was none.
type prober func(r *http.Request) (*httptest.ResponseRecorder, error)

func newNetwork(ip string) *network { return &network{ip: ip, ports: map[int]*openPort{}} }

// listen opens a port, for the pod alone when the address is of the loopback.
func (n *network) listen(address string, probe prober) (net.Listener, error) {
	host, number, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	p := &openPort{network: n, number: number, probe: probe, closed: make(chan struct{})}
	if host == "127.0.0.1" {
		p.loopback = make(chan net.Conn)
	} else if p.Listener, err = net.Listen("tcp4", net.JoinHostPort(n.ip, strconv.Itoa(number))); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[number] != nil {
		if p.Listener != nil {
			_ = p.Listener.Close()
		}
		return nil, &net.OpError{Op: "listen", Net: "tcp4", Err: syscall.EADDRINUSE}
	}
	n.ports[number] = p
	return p, nil
}

// announce notes that a process listens, or will, on a port of the pod's address.
func (n *network) announce(number int, probe prober) *openPort {
	p := &openPort{network: n, number: number, probe: probe, closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[number] = p
	return p
}

// splitAddress takes an address apart.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("reading the address: %w", err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("reading the port of %s: %w", address, err)
	}
	return host, port, nil
}

// get makes a request to a host, the pod's address or its loopback, without a connection.
func (n *network) get(ctx context.Context, port int, scheme, host, path string) (*httptest.ResponseRecorder, error) {
	p := n.at(port)
	if p == nil || p.probe == nil || p.loopback != nil && host == n.ip {
		return nil, fmt.Errorf("port %d is closed", port)
	}
	url := scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port)) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.RemoteAddr = host + ":1"
	return p.probe(req)
}

// at is the open port of a number, nil when it is closed.
func (n *network) at(number int) *openPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ports[number]
}

// dial connects from within the pod.
func (n *network) dial(ctx context.Context, number int) (net.Conn, error) {
	p := n.at(number)
	if p == nil || p.loopback == nil {
		var d net.Dialer
		return d.DialContext(ctx, "tcp4", net.JoinHostPort(n.ip, strconv.Itoa(number)))
	}
	near, far := net.Pipe()
	select {
	case p.loopback <- far:
		return near, nil
	case <-p.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp4", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for the next connection.
func (p *openPort) Accept() (net.Conn, error) {
	if p.loopback == nil {
		return p.Listener.Accept()
	}
	select {
	case c := <-p.loopback:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the port; closing twice does no harm.
func (p *openPort) Close() error {
	var err error
	p.once.Do(func() {
		p.network.mu.Lock()
		delete(p.network.ports, p.number)
		p.network.mu.Unlock()
		close(p.closed)
		if p.Listener != nil {
			err = p.Listener.Close()
		}
	})
	return err
}

// Addr is where the port is.
func (p *openPort) Addr() net.Addr {
	if p.Listener != nil {
		return p.Listener.Addr()
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p.number}
}

// addresses gives out the addresses of pods, 127.<network>.0.1 to 127.<network>.255.254, the one freed longest ago first.
type addresses struct {
	mu      sync.Mutex
	network byte
	used    map[string]bool
	next    int
}

// allAddresses is how many there are.
const allAddresses = 0xfffe

var errNoAddress = errors.New("no address is free")

func newAddresses(network byte) *addresses {
	return &addresses{network: network, used: map[string]bool{}}
}

// take takes the address asked for when it is one of ours and free, else the next free one.
func (a *addresses) take(wanted string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := net.ParseIP(wanted).To4(); b != nil && b[0] == 127 && b[1] == a.network && !a.used[wanted] {
		a.used[wanted] = true
		return wanted, nil
	}
	for range allAddresses {
		number := a.next + 1
		a.next = number % allAddresses
		if ip := net.IPv4(127, a.network, byte(number>>8), byte(number)).String(); !a.used[ip] {
			a.used[ip] = true
			return ip, nil
		}
	}
	return "", errNoAddress
}

func (a *addresses) free(ip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, ip)
}
