package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/fleet"
)

// driverCheckEvery is how often `fleet status -w` looks whether the driver is still there: one that was killed writes nothing.
const driverCheckEvery = 5 * time.Second

// watch follows a rollout until it comes to rest: nothing more is started, and nobody is at work.
func (s *session) watch(ctx context.Context, e *entry) (*entry, error) {
	report := newReporter(s.Factory, &output.Format{})
	defer report.close()
	report.start(e.record, "following")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	versions := s.versions(ctx, e.record.Name, report)
	check := time.NewTicker(driverCheckEvery)
	defer check.Stop()
	if err := s.alive(ctx, e.record); err != nil {
		return nil, err
	}
	for told := false; e.record.State == fleet.Running || e.record.Driver != ""; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-check.C:
			if err := s.alive(ctx, e.record); err != nil {
				return nil, err
			}
			if e.record.Driver == "" && !told {
				report.say("nobody drives it; next: %s", s.command("resume", e.record.Chain))
			}
			told = e.record.Driver == ""
		case v := <-versions:
			if v.err != nil {
				return nil, v.err
			}
			if newer(v.entry.object.ResourceVersion, e.object.ResourceVersion) {
				report.progress(e.record, v.entry.record)
				e = v.entry
			}
		}
	}
	return e, nil
}

// version is a record as it was written, or why there are no more of them.
type version struct {
	entry *entry
	err   error
}

// versions of a record, as they are written, until ctx ends or there is nothing more to follow.
func (s *session) versions(ctx context.Context, name string, report *reporter) <-chan version {
	out := make(chan version)
	tell := func(v version) {
		select {
		case out <- v:
		case <-ctx.Done():
		}
	}
	gone := version{err: fmt.Errorf("%w named %s any more: its record was deleted; next: seictl fleet history", errNoRecord, name)}
	record := recordSource(name)
	record.saw = func(o kube.Object) {
		if cm, ok := o.(*corev1.ConfigMap); ok {
			e, err := decode(cm)
			tell(version{entry: e, err: err})
		}
	}
	record.lost = func(kube.Object) { tell(gone) }
	record.all = func(present map[types.NamespacedName]bool) {
		if len(present) == 0 {
			tell(gone)
		}
	}
	go func() {
		for ctx.Err() == nil {
			err := record.listAndWatch(ctx, s.cluster.Client)
			switch {
			case err == nil || ctx.Err() != nil:
			case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
				tell(version{err: s.store.explain(errors.Unwrap(err), "watch", name)})
				return
			default:
				if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
					report.trouble(err)
				}
				if pause(ctx, retryEvery) != nil {
					return
				}
			}
		}
	}()
	return out
}
