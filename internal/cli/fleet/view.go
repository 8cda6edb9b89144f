package fleet

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/fleet"
)

// relist forgets what was known of the fleet, and reads it.
func (r *runner) relist(ctx context.Context) error {
	r.forget()
	return r.reread(ctx)
}

func (r *runner) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.nodes)
	clear(r.deployments)
}

// know takes in what was seen.
func (r *runner) know(seen *observed) {
	for _, d := range seen.deployments {
		r.saw(d)
	}
	for _, n := range seen.nodes {
		r.saw(n)
	}
}

// reread reads nodes and SeiNodeDeployments as they are now: watches may lag.
func (r *runner) reread(ctx context.Context) error {
	seen, err := gatherFor(ctx, r.Factory, r.cluster, r.entry.record)
	if err != nil {
		return err
	}
	r.know(seen)
	return nil
}

func (r *runner) view() fleet.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := fleet.View{
		Nodes:       make(map[types.NamespacedName]*v1alpha1.SeiNode, len(r.nodes)),
		Deployments: make(map[types.NamespacedName]*v1alpha1.SeiNodeDeployment, len(r.deployments)),
		Chain:       make(map[types.NamespacedName]fleet.ChainSample, len(r.chain)), Now: r.Now(),
	}
	for k, n := range r.nodes {
		v.Nodes[k] = n
	}
	for k, d := range r.deployments {
		v.Deployments[k] = d
	}
	for k, c := range r.chain {
		v.Chain[k] = c
	}
	return v
}

// lookAgain is reread until it succeeds: an API server that is busy ends no rollout. Where it says no for good, as without the
// right to list, what the watches brought has to do.
func (r *runner) lookAgain(ctx context.Context) error {
	for {
		err := r.reread(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !factory.Unreachable(err) && !busy(err):
			r.report.warn(err.Error())
			return nil
		}
		r.report.trouble(err)
		if err := pause(ctx, retryEvery); err != nil {
			return err
		}
	}
}

// busy says whether an API server may answer when it is asked again.
func busy(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServiceUnavailable(err)
}

// leaveWithin is how long a command that ends may take to look at what it leaves behind.
const leaveWithin = 2 * time.Second

// left are the nodes that a driver leaves in a pod cycle: its last passes may have begun one.
func (r *runner) left() []types.NamespacedName {
	// The command's own context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	_ = r.reread(ctx) // what is known has to do
	return r.cycling()
}
