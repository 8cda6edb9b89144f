package lock

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// leases is an API server that knows one Lease, with the optimistic locking that takes the races out of elections. It
// speaks HTTP, so that other processes can take part.
type leases struct {
	mu    sync.Mutex
	lease *coordinationv1.Lease
	// fail, when set, answers instead; the verb is get, create or update.
	fail func(verb string) error
	// changed is closed and replaced at every write.
	changed chan struct{}
}

func startLeases(t *testing.T) (*leases, *rest.Config) {
	t.Helper()
	l := &leases{changed: make(chan struct{})}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	return l, configFor(server.URL)
}

func configFor(url string) *rest.Config {
	return &rest.Config{Host: url, ContentConfig: rest.ContentConfig{
		ContentType: "application/json", AcceptContentTypes: "application/json"}}
}

var verbs = map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update"}

func (l *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease, err := l.handle(r)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := err.(apierrors.APIStatus).Status()
		w.WriteHeader(int(status.Code))
		json.NewEncoder(w).Encode(status)
		return
	}
	json.NewEncoder(w).Encode(lease)
}

func (l *leases) handle(r *http.Request) (*coordinationv1.Lease, error) {
	gr := coordinationv1.Resource("leases")
	if !strings.HasPrefix(r.URL.Path, "/apis/coordination.k8s.io/v1/namespaces/sei-system/leases") {
		return nil, apierrors.NewNotFound(gr, r.URL.Path)
	}
	if l.fail != nil {
		if err := l.fail(verbs[r.Method]); err != nil {
			return nil, err
		}
	}
	var sent coordinationv1.Lease
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	switch {
	case r.Method == http.MethodPost && l.lease != nil:
		return nil, apierrors.NewAlreadyExists(gr, Name)
	case r.Method != http.MethodPost && l.lease == nil:
		return nil, apierrors.NewNotFound(gr, Name)
	case r.Method == http.MethodGet:
		return l.lease, nil
	case r.Method == http.MethodPut && sent.ResourceVersion != l.lease.ResourceVersion:
		return nil, apierrors.NewConflict(gr, Name, nil)
	}
	l.store(&sent)
	return l.lease, nil
}

// store is called with the lock held.
func (l *leases) store(lease *coordinationv1.Lease) {
	version := 0
	if l.lease != nil {
		version, _ = strconv.Atoi(l.lease.ResourceVersion)
	}
	lease.ResourceVersion = strconv.Itoa(version + 1)
	lease.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
	l.lease = lease
	close(l.changed)
	l.changed = make(chan struct{})
}

// put writes a record past the API, as another driver would.
func (l *leases) put(holder string, seconds int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := metav1.NewMicroTime(time.Now())
	l.store(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Name},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now}})
}

func (l *leases) setFail(fail func(string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = fail
}

func (l *leases) holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease == nil || l.lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.lease.Spec.HolderIdentity
}

// fast are the shortest times that a Lease can hold, with room for a busy machine.
var fast = Options{LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond}

func newLock(t *testing.T, cfg *rest.Config, holder Holder, opts Options) *Lock {
	t.Helper()
	l, err := NewForConfig(cfg, holder, opts)
	require.NoError(t, err)
	return l
}
