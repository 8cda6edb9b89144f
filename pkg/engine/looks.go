package engine

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// DefaultServedCheckInterval is how often the certificate that a settled node serves is looked at.
	DefaultServedCheckInterval = 10 * time.Minute
	// looksPerSecond bounds the looks at all nodes together, and looksAtOnce those under way: a thousand proxies may get new
	// certificates in the same minute, and may hang in the handshake.
	looksPerSecond = 4
	looksAtOnce    = 4
	// takeUpTime is how long a proxy that serves another certificate than the Secret's is looked at often: in this time the
	// kubelet and the proxy take up a new one.
	takeUpTime = 5 * time.Minute
	// busyDelay is when to try again if looksAtOnce are under way.
	busyDelay = time.Second
)

// look is when the certificate that a node serves is looked at next.
type look struct {
	// key is what decided what is served when this was planned.
	key string
	at  time.Time
	// trouble is since when the node was seen not to serve what it should; zero while it does.
	trouble time.Time
	// booked says that at is within the rate.
	booked bool
}

// looks plans who is looked at when. The first look at a node of which nothing is suspected is at a random time within the
// interval, so that a restart is no burst.
type looks struct {
	every time.Duration
	rate  *rate.Limiter
	slots chan struct{}
	taken atomic.Uint64

	mu sync.Mutex
	m  map[types.UID]*look
}

func newLooks(every time.Duration) *looks {
	if every <= 0 {
		every = DefaultServedCheckInterval
	}
	return &looks{
		every: every, rate: rate.NewLimiter(looksPerSecond, 1), slots: make(chan struct{}, looksAtOnce), m: map[types.UID]*look{},
	}
}

// take says whether a node is to be looked at now: then whoever asks tells done how it went. The times are when to ask again.
func (s *looks) take(node types.UID, key string, suspected bool, now time.Time) (done func(well bool) time.Time, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.m[node]
	switch {
	case l == nil:
		l = &look{key: key, at: now}
		if !suspected {
			l.at = now.Add(rand.N(s.every))
		}
		s.m[node] = l
	case l.key != key:
		l.key, l.trouble = key, time.Time{}
		if !l.booked {
			l.at = now
		}
	}
	if now.Before(l.at) {
		return nil, l.at
	}
	if !l.booked {
		l.booked, l.at = true, now.Add(s.rate.ReserveN(now, 1).DelayFrom(now))
		if now.Before(l.at) {
			return nil, l.at
		}
	}
	select {
	case s.slots <- struct{}{}:
	default:
		l.at = now.Add(busyDelay)
		return nil, l.at
	}
	s.taken.Add(1)
	// A tenth to and fro, so that nodes that were looked at together do not stay together.
	l.booked, l.at = false, now.Add(s.every*9/10+rand.N(s.every/5+1))
	return func(well bool) time.Time {
		<-s.slots
		s.mu.Lock()
		defer s.mu.Unlock()
		return l.ended(well, now)
	}, l.at
}

// ended notes how a look went and returns when the next one is.
func (l *look) ended(well bool, now time.Time) time.Time {
	switch {
	case well:
		l.trouble = time.Time{}
		return l.at
	case l.trouble.IsZero():
		l.trouble = now
	}
	if soon := now.Add(sidecarPoll); now.Sub(l.trouble) < takeUpTime && soon.Before(l.at) {
		l.at = soon
	}
	return l.at
}

// forget drops what is planned for a node.
func (s *looks) forget(node types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, node)
}
