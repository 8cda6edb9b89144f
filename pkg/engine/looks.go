package engine

import (
	"math/rand/v2"
	"sync"
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
	// lookTimeout bounds one look: a proxy that hangs must not keep others waiting.
	lookTimeout = 3 * time.Second
	// takeUpTime is how long a proxy that serves another certificate than the Secret's is looked at often: in this time the
	// kubelet and the proxy take up a new one. Until troubleTime it is looked at every troublePoll.
	takeUpTime  = 5 * time.Minute
	troubleTime = time.Hour
	troublePoll = time.Minute
	// lateness is how much later than its time a look may begin: those that piled up get new times.
	lateness = time.Second
)

// LookResult is what a look at a served certificate found.
type LookResult string

const (
	// LookCurrent says that the certificate in the Secret is served, sound or not.
	LookCurrent LookResult = "current"
	// LookOther says that another one is served.
	LookOther LookResult = "other"
	// LookFailed says that it could not be seen, or cannot be verified.
	LookFailed LookResult = "failed"
)

// look is when the certificate that a node serves is looked at next, and what was seen last.
type look struct {
	// key is what decided what is served when this was planned.
	key string
	// at is when to look; zero for not before something happens. booked says that it is within the rate.
	at     time.Time
	booked bool
	// seen is what was found with this key; empty before the first look.
	seen LookResult
	// unsound is the fingerprint of an unsound certificate that was found served.
	unsound string
	// trouble is since when the node was seen not to serve what it should; zero while it does.
	trouble time.Time
}

// looks plans who is looked at when. The first look at a node of which nothing is suspected is at a random time within the
// interval, so that a restart is no burst.
type looks struct {
	every time.Duration // not positive: only when something happens
	rate  *rate.Limiter
	slots chan struct{}

	mu sync.Mutex
	// newest is the latest time seen: passes that run side by side come with times that are not in order.
	newest time.Time
	m      map[types.UID]*look
	counts map[LookResult]uint64
}

func newLooks(every time.Duration) *looks {
	if every == 0 {
		every = DefaultServedCheckInterval
	}
	return &looks{
		every: every, rate: rate.NewLimiter(looksPerSecond, 1), slots: make(chan struct{}, looksAtOnce),
		m: map[types.UID]*look{}, counts: map[LookResult]uint64{},
	}
}

// take says whether a node is to be looked at now: then whoever asks tells done what was found. The times are when to ask
// again, zero for not before something happens.
func (s *looks) take(node types.UID, key string, suspected bool, now time.Time) (done func(LookResult, string) time.Time, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.newest) {
		now = s.newest
	}
	s.newest = now
	l := s.m[node]
	switch {
	case l == nil:
		l = &look{key: key}
		if s.m[node] = l; suspected {
			l.at = now
		} else if s.every > 0 {
			l.at = now.Add(rand.N(s.every))
		}
	case l.key != key:
		at, booked := l.at, l.booked
		if *l = (look{key: key, at: now}); booked {
			l.at, l.booked = at, true
		}
	}
	if l.at.IsZero() || now.Before(l.at) {
		return nil, l.at
	}
	if !l.booked || now.Sub(l.at) > lateness {
		if s.book(l, now); now.Before(l.at) {
			return nil, l.at
		}
	}
	select {
	case s.slots <- struct{}{}:
	default:
		// To the end of the queue.
		if s.book(l, now); !now.Before(l.at) {
			l.at = now.Add(lateness)
		}
		return nil, l.at
	}
	l.booked, l.at = false, time.Time{}
	if s.every > 0 {
		// A tenth to and fro, so that nodes that were looked at together do not stay together.
		l.at = now.Add(s.every*9/10 + rand.N(s.every/5+1))
	}
	return func(found LookResult, unsound string) time.Time {
		<-s.slots
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts[found]++
		return l.ended(found, unsound, now)
	}, l.at
}

// book gives a look the next time within the rate.
func (s *looks) book(l *look, now time.Time) {
	l.booked, l.at = true, now.Add(s.rate.ReserveN(now, 1).DelayFrom(now))
}

// ended notes what a look found and returns when the next one is.
func (l *look) ended(found LookResult, unsound string, now time.Time) time.Time {
	l.seen, l.unsound = found, unsound
	if found == LookCurrent {
		l.trouble = time.Time{}
		return l.at
	}
	if l.trouble.IsZero() {
		l.trouble = now
	}
	poll := troublePoll
	if found == LookOther && now.Sub(l.trouble) < takeUpTime {
		poll = sidecarPoll
	}
	if soon := now.Add(poll); now.Sub(l.trouble) < troubleTime && (l.at.IsZero() || soon.Before(l.at)) {
		l.at = soon
	}
	return l.at
}

// last is what the last look at a node found, while key holds; empty when there was none.
func (s *looks) last(node types.UID, key string) LookResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.m[node]; l != nil && l.key == key {
		return l.seen
	}
	return ""
}

// serves says whether a node was seen to serve an unsound certificate.
func (s *looks) serves(node types.UID, unsound string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.m[node]
	return l != nil && l.unsound == unsound
}

// forget drops what is planned for a node.
func (s *looks) forget(node types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, node)
}

// count is how many looks found what.
func (s *looks) count() map[LookResult]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[LookResult]uint64{LookCurrent: 0, LookOther: 0, LookFailed: 0}
	for k, n := range s.counts {
		out[k] = n
	}
	return out
}
