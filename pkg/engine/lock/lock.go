package lock

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The Lease.
const (
	Namespace = "sei-system"
	Name      = "seictl-engine"
)

// Options are the times of client-go's leader election; zero means the default. All drivers of a cluster should use the
// same ones.
type Options struct {
	// Name of the Lease; the engine's when empty. A rollout over a fleet has one of its own, as who rolls out need not drive.
	Name string
	// LeaseDuration is how long a record must stand unchanged until its holder counts as gone. Whole seconds, 15 by default.
	LeaseDuration time.Duration
	// RenewDeadline is how long a holder tries to renew until it gives up, 10 s by default; less than LeaseDuration.
	RenewDeadline time.Duration
	// RetryPeriod is the time between tries, 2 s by default.
	RetryPeriod time.Duration
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = Name
	}
	if o.LeaseDuration == 0 {
		o.LeaseDuration = 15 * time.Second
	}
	if o.RenewDeadline == 0 {
		o.RenewDeadline = 10 * time.Second
	}
	if o.RetryPeriod == 0 {
		o.RetryPeriod = 2 * time.Second
	}
	return o
}

// Lock is the Lease as seen by one holder. It is a resourcelock.Interface, and so fits controller-runtime's
// LeaderElectionResourceLockInterface; a CLI calls Acquire. Either one uses it at a time.
type Lock struct {
	clients kubernetes.Interface
	inner   *resourcelock.LeaseLock
	self    Holder
	opts    Options
	lookUp  func(pid int) (start uint64, alive bool, err error)

	mu sync.Mutex
	// watching hears what every request to the Lease came to, while an Acquire or its Held lives.
	watching func(observation)
}

var _ resourcelock.Interface = (*Lock)(nil)

// observation is what one request came to; record is set for a read that succeeded.
type observation struct {
	record *resourcelock.LeaderElectionRecord
	raw    string
	err    error
}

// New returns the lock for a holder. It does no I/O.
func New(clients kubernetes.Interface, holder Holder, opts Options) (*Lock, error) {
	opts = opts.withDefaults()
	if opts.LeaseDuration < time.Second || opts.LeaseDuration%time.Second != 0 {
		return nil, fmt.Errorf("lease duration %s: a Lease holds whole seconds", opts.LeaseDuration)
	}
	if holder.String() == "" {
		return nil, fmt.Errorf("the holder of a lock needs an identity")
	}
	return &Lock{
		clients: clients,
		inner: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: Namespace, Name: opts.Name},
			Client:     clients.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: holder.String()},
		},
		self:   holder,
		opts:   opts,
		lookUp: lookUp,
	}, nil
}

// NewForConfig is New with clients of its own, so that neither a hung request nor a client-side rate limit of others costs
// the Lease.
func NewForConfig(cfg *rest.Config, holder Holder, opts Options) (*Lock, error) {
	opts = opts.withDefaults()
	cfg = rest.AddUserAgent(rest.CopyConfig(cfg), "leader-election")
	cfg.Timeout = max(time.Second, opts.RenewDeadline/2)
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("building the client of the lock: %w", err)
	}
	return New(clients, holder, opts)
}

// Get reads the record. One of a holder that is proven to be gone reads as released, so that it is taken over at once.
func (l *Lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.inner.Get(ctx)
	if err != nil {
		l.tell(observation{err: explain("get", err)})
		return nil, nil, err
	}
	// The record's JSON has whole seconds: two renewals within one would look like none.
	raw = fmt.Appendf(raw, "%d", record.RenewTime.UnixNano())
	if record.HolderIdentity != l.Identity() && ParseHolder(record.HolderIdentity).gone(l.self, l.lookUp) {
		record.HolderIdentity = ""
	}
	l.tell(observation{record: record, raw: string(raw)})
	return record, raw, nil
}

// Create creates the Lease.
func (l *Lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := l.inner.Create(ctx, record)
	l.tell(observation{err: explain("create", err)})
	return err
}

// Update writes the record over the one that was read or written last.
func (l *Lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := l.inner.Update(ctx, record)
	l.tell(observation{err: explain("update", err)})
	return err
}

// RecordEvent does nothing: who drives is in the Lease.
func (l *Lock) RecordEvent(string) {}

// Identity is the holder's.
func (l *Lock) Identity() string { return l.inner.Identity() }

// Describe names the Lease.
func (l *Lock) Describe() string { return l.inner.Describe() }

func (l *Lock) tell(o observation) {
	l.mu.Lock()
	watching := l.watching
	l.mu.Unlock()
	if watching != nil {
		watching(o)
	}
}

// watch sets who hears of the requests; false when somebody does already.
func (l *Lock) watch(watching func(observation)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if watching != nil && l.watching != nil {
		return false
	}
	l.watching = watching
	return true
}

// Record is who holds the Lease.
type Record struct {
	Holder Holder
	// Since is when it got hold of it and RenewedAt when it renewed it last, by the holder's clock.
	Since, RenewedAt time.Time
	// LeaseDuration is what the holder promised to renew within.
	LeaseDuration time.Duration
}

// Expired says whether the last renewal is older than the holder promised. It compares clocks of two machines and so is a
// hint for a reader; only Acquire finds out.
func (r Record) Expired(now time.Time) bool { return now.After(r.RenewedAt.Add(r.LeaseDuration)) }

func newRecord(r *resourcelock.LeaderElectionRecord) Record {
	return Record{
		Holder: ParseHolder(r.HolderIdentity),
		Since:  r.AcquireTime.Time, RenewedAt: r.RenewTime.Time,
		LeaseDuration: time.Duration(r.LeaseDurationSeconds) * time.Second,
	}
}

// Peek returns who holds the Lease, without taking it; nil when nobody does, or nobody that is still there.
func (l *Lock) Peek(ctx context.Context) (*Record, error) {
	lease, err := l.clients.CoordinationV1().Leases(Namespace).Get(ctx, l.opts.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("get", err)
	}
	return l.read(lease), nil
}

func (l *Lock) read(lease *coordinationv1.Lease) *Record {
	r := newRecord(resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec))
	if r.Holder.IsZero() || r.Holder.gone(l.self, l.lookUp) {
		return nil
	}
	return &r
}

// fatalError is one that trying again will not help.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// explain names the fix where there is one.
func explain(verb string, err error) error {
	switch {
	case err == nil, apierrors.IsNotFound(err) && verb == "get": // no Lease yet
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fatalError{fmt.Errorf("namespace %s is being deleted: wait, then run 'seictl install base --apply': %w", Namespace, err)}
	case apierrors.IsNotFound(err) && verb == "create":
		return fatalError{fmt.Errorf("namespace %s not found: run 'seictl install base --apply': %w", Namespace, err)}
	case apierrors.IsForbidden(err):
		return fatalError{fmt.Errorf("not allowed to %s Lease %s/%s: bind the Role that 'seictl install base' makes: %w",
			verb, Namespace, Name, err)}
	case apierrors.IsUnauthorized(err):
		return fatalError{fmt.Errorf("%s Lease %s/%s: the cluster does not accept your credentials: %w", verb, Namespace, Name, err)}
	}
	return fmt.Errorf("%s Lease %s/%s: %w", verb, Namespace, Name, err)
}
