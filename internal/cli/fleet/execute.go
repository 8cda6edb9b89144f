package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/node"
	"sei.io/seictl/pkg/deployment"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
)

// errPruned says that a field that was written is not there.
var errPruned = errors.New("was written and is not there: the CRD in the cluster does not know it, or a webhook takes it out; next: seictl install base --apply")

// What became of an edit that was not written: the object has just gone away, or another edit failed before it.
var errGone, errNotTried = errors.New("it is gone"), errors.New("not tried")

// carryOut does what a step decided. again says that something has to be tried again.
func (r *runner) carryOut(ctx context.Context, d fleet.Decision) (again bool, err error) {
	indexes, errs := r.edits(ctx, d)
	for j, i := range indexes {
		if errs[j] == nil {
			r.entry.record.Objects[i].Edited, r.unsaved = true, true
		}
	}
	for j, i := range indexes {
		o := &r.entry.record.Objects[i]
		switch err := errs[j]; {
		case err == nil:
		case errors.Is(err, errGone), errors.Is(err, errNotTried):
			again = true
		case errors.Is(err, errPruned):
			return false, err
		default:
			again = true
			if err := r.transient(ctx, err); err != nil {
				return false, r.cluster.Explain(err, "patch", o.Resource(), o.Namespace, "")
			}
		}
	}
	for key, stamp := range d.Retries {
		if err := r.retry(ctx, key, stamp); err != nil {
			again = true
			if err := r.transient(ctx, err); err != nil {
				return false, r.cluster.Explain(err, "patch", "seinodes", key.Namespace, key.Name)
			}
		}
	}
	if r.driver.Holding() {
		if err := r.propagate(ctx); err != nil {
			again = true
			if err := r.transient(ctx, err); err != nil {
				return false, r.cluster.Explain(err, "update", "seinodes", "", "")
			}
		}
	}
	for _, key := range d.Probes {
		r.ask(ctx, key)
	}
	if len(d.Edits)+len(d.Retries) > 0 {
		// What was written is known: go on at once.
		r.poke()
	}
	return again, nil
}

// editsAtOnce is how many objects are written at once.
const editsAtOnce = 8

// edits writes what was decided: the objects by index of the record, in order, and what came of each.
func (r *runner) edits(ctx context.Context, d fleet.Decision) (indexes []int, errs []error) {
	indexes = slices.Sorted(maps.Keys(d.Edits))
	errs = make([]error, len(indexes))
	// What is refused once is not asked for everywhere else, too.
	var failed atomic.Bool
	var group errgroup.Group
	group.SetLimit(editsAtOnce)
	for j, i := range indexes {
		group.Go(func() error {
			if errs[j] = errNotTried; !failed.Load() {
				errs[j] = r.edit(ctx, &r.entry.record.Objects[i], d.Edits[i])
			}
			if errs[j] != nil && !errors.Is(errs[j], errGone) {
				failed.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait()
	return indexes, errs
}

// edit writes the change into an object, as an optimistic merge patch.
func (r *runner) edit(ctx context.Context, o *fleet.ObjectRecord, e fleet.Edit) error {
	r.mu.Lock()
	n, d := r.nodes[o.Key()], r.deployments[o.Key()]
	r.mu.Unlock()
	if o.Kind == fleet.KindDeployment {
		if d == nil {
			return errGone
		}
		edited := fleet.EditDeployment(d, e)
		if err := r.patch(ctx, d, edited); err != nil {
			return err
		}
		return readBack(o, fleet.TLSOf(&edited.Spec.Template.Spec), e.TLS)
	}
	if n == nil {
		return errGone
	}
	edited := fleet.EditNode(n, e)
	if err := r.patch(ctx, n, edited); err != nil {
		return err
	}
	return readBack(o, edited.SidecarTLS(), e.TLS)
}

func readBack(o *fleet.ObjectRecord, got, want *v1alpha1.SidecarTLSConfig) error {
	if got.Equal(want) {
		return nil
	}
	return fmt.Errorf("%s: spec.sidecar.tls %w: wanted %s, found %s", o.Object, errPruned, plan.TLSText(want), plan.TLSText(got))
}

// patch writes an object as it should be over the one that was read, unless they are the same. After a conflict the fresh
// object is what the next step decides on.
func (r *runner) patch(ctx context.Context, before, after kube.Object) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	err := r.cluster.Client.Patch(ctx, after, kube.MergeFromWithOptions(before, kube.MergeFromWithOptimisticLock{}),
		kube.FieldOwner(fleet.FieldManager))
	if err == nil {
		r.saw(after)
		return nil
	}
	if apierrors.IsConflict(err) {
		fresh, ok := before.DeepCopyObject().(kube.Object)
		if ok && r.cluster.Client.Get(ctx, kube.ObjectKeyFromObject(before), fresh) == nil {
			r.saw(fresh)
		}
	}
	return err
}

// retry asks for another attempt, and cert-manager for another certificate where it gave up.
func (r *runner) retry(ctx context.Context, key types.NamespacedName, stamp string) error {
	r.mu.Lock()
	n := r.nodes[key]
	r.mu.Unlock()
	if n == nil {
		return nil
	}
	after := n.DeepCopy()
	if after.Annotations == nil {
		after.Annotations = map[string]string{}
	}
	after.Annotations[v1alpha1.AnnotationRetryRequestedAt] = stamp
	if err := r.patch(ctx, n, after); err != nil {
		return err
	}
	if _, err := node.Reissue(ctx, r.cluster, after, r.Now()); err != nil {
		// The attempt is made all the same, and says what is missing.
		r.report.trouble(err)
	}
	return nil
}

// propagate does what the operator would do for the SeiNodeDeployments of the rollout: the same code, in the same order. It
// neither creates nor deletes children.
func (r *runner) propagate(ctx context.Context) error {
	record := r.entry.record
	ours := map[types.NamespacedName]bool{}
	for i := range record.Nodes {
		ours[record.Nodes[i].Key()] = true
	}
	var failed error
	for i := range record.Objects {
		o := &record.Objects[i]
		if o.Kind != fleet.KindDeployment || !o.Edited || o.Clean {
			continue
		}
		for _, a := range r.actions(o.Key()) {
			if a.Type != deployment.Update || !ours[kube.ObjectKeyFromObject(a.Node)] {
				continue
			}
			child := a.Node.DeepCopy()
			if err := r.cluster.Client.Update(ctx, child, kube.FieldOwner(deployment.FieldManager)); err != nil {
				if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
					failed = err
				}
				// The watch brings what somebody else wrote, and the next pass decides on it.
				break
			}
			r.saw(child)
			r.poke()
		}
	}
	return failed
}

func (r *runner) actions(key types.NamespacedName) []deployment.Action {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.deployments[key]
	if d == nil {
		return nil
	}
	var nodes []*v1alpha1.SeiNode
	for k, n := range r.nodes {
		if k.Namespace == key.Namespace {
			nodes = append(nodes, n)
		}
	}
	return deployment.Evaluate(deployment.Input{Deployment: d, Nodes: nodes, Now: r.Now()}).Actions
}

// ask asks a seid for its height in the background, once at a time and not too often.
func (r *runner) ask(ctx context.Context, key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.Now()
	if r.asking[key] || at.Sub(r.asked[key]) < askEvery*9/10 {
		return
	}
	r.asking[key], r.asked[key] = true, at
	var gate time.Time
	for i := range r.entry.record.Nodes {
		if n := &r.entry.record.Nodes[i]; n.Key() == key && n.AtTargetAt != nil {
			gate = *n.AtTargetAt
		}
	}
	go func() {
		height, catchingUp, err := r.height(ctx, key)
		r.mu.Lock()
		delete(r.asking, key)
		r.sample(key, gate, at, height, catchingUp, err)
		r.mu.Unlock()
		r.poke()
	}()
}

// sample takes in what a seid said. A gate that began later starts over.
func (r *runner) sample(key types.NamespacedName, gate, at time.Time, height int64, catchingUp bool, err error) {
	s, ok := r.chain[key]
	if !ok || s.Since.Before(gate) {
		s = fleet.ChainSample{Since: at}
	}
	if s.Err = ""; err != nil {
		s.Err = err.Error()
	} else {
		if s.First == 0 {
			s.First = height
		}
		s.Height, s.CatchingUp = height, catchingUp
	}
	r.chain[key] = s
}

func (r *runner) height(ctx context.Context, key types.NamespacedName) (int64, bool, error) {
	var pod corev1.Pod
	name := types.NamespacedName{Namespace: key.Namespace, Name: resources.PodName(key.Name)}
	if err := r.cluster.Client.Get(ctx, name, &pod); err != nil {
		return 0, false, fmt.Errorf("reading its pod: %w", err)
	}
	return r.prober.Chain(ctx, fleet.Pod{Namespace: pod.Namespace, Name: pod.Name, IP: pod.Status.PodIP})
}

// inCluster says whether this process runs in a pod, where pods are reached by their addresses.
func inCluster() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }
