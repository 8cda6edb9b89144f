package lock

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func cli(user string) Holder {
	return Holder{Kind: KindCLI, User: user, Host: "host", PID: 1, Nonce: user}
}

func TestAcquireRenewRelease(t *testing.T) {
	server, cfg := startLeases(t)
	l := newLock(t, cfg, cli("alice"), fast)
	held, err := l.Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err)
	require.Equal(t, cli("alice").String(), server.holder())

	seen, err := newLock(t, cfg, cli("bob"), fast).Peek(t.Context())
	require.NoError(t, err)
	require.Equal(t, cli("alice"), seen.Holder)
	require.False(t, seen.Expired(time.Now()))
	require.Equal(t, fast.LeaseDuration, seen.LeaseDuration)

	_, err = l.Acquire(t.Context(), AcquireOptions{})
	require.ErrorContains(t, err, "held or being acquired already")

	require.NoError(t, held.Context().Err())
	require.NoError(t, held.Release(t.Context()))
	require.NoError(t, held.Release(t.Context()), "twice is once")
	require.ErrorIs(t, context.Cause(held.Context()), ErrReleased)
	require.Empty(t, server.holder())
	seen, err = l.Peek(t.Context())
	require.NoError(t, err)
	require.Nil(t, seen)

	held, err = newLock(t, cfg, cli("bob"), fast).Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err, "a released Lease is free at once")
	require.NoError(t, held.Release(t.Context()))
}

func TestLiveHolderIsReported(t *testing.T) {
	_, cfg := startLeases(t)
	held, err := newLock(t, cfg, cli("alice"), fast).Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err)
	defer held.Release(t.Context())
	for name, timeout := range map[string]time.Duration{"at once": 0, "after the timeout": 700 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			_, err := newLock(t, cfg, cli("bob"), fast).Acquire(t.Context(), AcquireOptions{Timeout: timeout})
			var other *HeldError
			require.ErrorAs(t, err, &other)
			require.Equal(t, cli("alice"), other.Holder)
			require.GreaterOrEqual(t, other.WaitedFor, timeout)
			require.Less(t, time.Since(begun), fast.LeaseDuration)
			require.ErrorContains(t, err, "alice@host (pid 1) is driving since ")
			require.NoError(t, held.Context().Err())
		})
	}
}

func TestSilentHolderIsTakenOverAfterItsLease(t *testing.T) {
	server, cfg := startLeases(t)
	server.put("operator/seictl-0", 1)
	begun := time.Now()
	held, err := newLock(t, cfg, cli("bob"), fast).Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begun), time.Second, "a whole LeaseDuration, measured here")
	require.NoError(t, held.Release(t.Context()))
}

func TestWaitsForARelease(t *testing.T) {
	_, cfg := startLeases(t)
	held, err := newLock(t, cfg, cli("alice"), fast).Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		next, err := newLock(t, cfg, cli("bob"), fast).Acquire(t.Context(), AcquireOptions{Timeout: 30 * time.Second})
		if err == nil {
			err = next.Release(t.Context())
		}
		got <- err
	}()
	require.NoError(t, held.Release(t.Context()))
	require.NoError(t, <-got)
}

// Two that find an expired Lease: the optimistic lock lets one through.
func TestOneOfManyWins(t *testing.T) {
	server, cfg := startLeases(t)
	won := make(chan *Held, 5)
	for _, user := range []string{"a", "b", "c", "d", "e"} {
		l := newLock(t, cfg, cli(user), fast)
		go func() {
			held, _ := l.Acquire(t.Context(), AcquireOptions{})
			won <- held
		}()
	}
	winners := 0
	for range 5 {
		if held := <-won; held != nil {
			winners++
			defer held.Release(t.Context())
		}
	}
	require.Equal(t, 1, winners)
	require.NotEmpty(t, server.holder())
}

func TestLosingTheLeaseCancels(t *testing.T) {
	outage := func(string) error { return apierrors.NewServiceUnavailable("away") }
	for name, lose := range map[string]func(*leases){
		"API server away":  func(s *leases) { s.setFail(outage) },
		"taken by another": func(s *leases) { s.put("cli/mallory@host/6", 15) },
	} {
		t.Run(name, func(t *testing.T) {
			server, cfg := startLeases(t)
			held, err := newLock(t, cfg, cli("alice"), fast).Acquire(t.Context(), AcquireOptions{})
			require.NoError(t, err)
			begun := time.Now()
			lose(server)
			<-held.Context().Done()
			require.ErrorIs(t, context.Cause(held.Context()), ErrLost)
			require.Less(t, time.Since(begun), fast.LeaseDuration, "before anybody else may take it")
			server.setFail(nil)
			require.NoError(t, held.Release(t.Context()))
			require.NotEqual(t, cli("alice").String(), server.holder())
		})
	}
}

func TestLossNamesTheOther(t *testing.T) {
	server, cfg := startLeases(t)
	held, err := newLock(t, cfg, cli("alice"), fast).Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err)
	server.put("operator/seictl-0", 15)
	<-held.Context().Done()
	require.EqualError(t, context.Cause(held.Context()), "lost the engine's Lease: operator pod seictl-0 holds it now")
	require.NoError(t, held.Release(t.Context()))
	require.Equal(t, "operator/seictl-0", server.holder(), "another's Lease is not released")
}

// Ctrl-C must not give the Lease away while tasks wind down.
func TestCancelledAcquireContextKeepsTheLease(t *testing.T) {
	server, cfg := startLeases(t)
	ctx, cancel := context.WithCancel(t.Context())
	held, err := newLock(t, cfg, cli("alice"), fast).Acquire(ctx, AcquireOptions{})
	require.NoError(t, err)
	cancel()
	<-held.Context().Done()
	require.NotErrorIs(t, context.Cause(held.Context()), ErrLost)
	server.mu.Lock()
	renewed := server.changed
	server.mu.Unlock()
	<-renewed
	require.Equal(t, cli("alice").String(), server.holder())
	require.NoError(t, held.Release(t.Context()))
	require.Empty(t, server.holder())
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	server, cfg := startLeases(t)
	server.put("operator/seictl-0", 60)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	l := newLock(t, cfg, cli("bob"), fast)
	_, err := l.Acquire(ctx, AcquireOptions{Timeout: time.Minute})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "operator/seictl-0", server.holder())
	server.put("", 1)
	held, err := l.Acquire(t.Context(), AcquireOptions{})
	require.NoError(t, err, "a lock can be tried again")
	require.NoError(t, held.Release(t.Context()))
}

func TestErrorsNameTheFix(t *testing.T) {
	leasesGR := coordinationv1.Resource("leases")
	on := func(verb string, err error) func(string) error {
		return func(v string) error {
			if v == verb {
				return err
			}
			return nil
		}
	}
	for want, fail := range map[string]func(string) error{
		"namespace sei-system not found: run 'seictl install base --apply'": on("create",
			apierrors.NewNotFound(corev1.Resource("namespaces"), Namespace)),
		"not allowed to get Lease sei-system/seictl-engine":    on("get", apierrors.NewForbidden(leasesGR, Name, errors.New("no"))),
		"not allowed to create Lease sei-system/seictl-engine": on("create", apierrors.NewForbidden(leasesGR, Name, errors.New("no"))),
		"does not accept your credentials":                     on("get", apierrors.NewUnauthorized("who?")),
		"get Lease sei-system/seictl-engine: ":                 on("get", apierrors.NewInternalError(errors.New("boom"))),
	} {
		t.Run(want, func(t *testing.T) {
			server, cfg := startLeases(t)
			server.setFail(fail)
			_, err := newLock(t, cfg, cli("alice"), fast).Acquire(t.Context(), AcquireOptions{})
			require.ErrorContains(t, err, want)
			var held *HeldError
			require.NotErrorAs(t, err, &held)
		})
	}
	server, cfg := startLeases(t)
	server.setFail(on("get", apierrors.NewForbidden(leasesGR, Name, errors.New("no"))))
	_, err := newLock(t, cfg, cli("alice"), fast).Peek(t.Context())
	require.True(t, apierrors.IsForbidden(err))
}

func TestOptionsAreChecked(t *testing.T) {
	_, cfg := startLeases(t)
	_, err := NewForConfig(cfg, cli("alice"), Options{LeaseDuration: 1500 * time.Millisecond})
	require.ErrorContains(t, err, "whole seconds")
	_, err = NewForConfig(cfg, Holder{}, Options{})
	require.ErrorContains(t, err, "identity")
	_, err = newLock(t, cfg, cli("alice"), Options{LeaseDuration: time.Second}).Acquire(t.Context(), AcquireOptions{})
	require.ErrorContains(t, err, "leaseDuration must be greater than renewDeadline")
}
