package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

// Labels of a record's ConfigMap.
const (
	labelRollout = "seictl.sei.io/rollout"
	labelChain   = "seictl.sei.io/chain"
	labelState   = "seictl.sei.io/state"
	recordKey    = "rollout.json"
)

// store keeps records in ConfigMaps.
type store struct {
	cluster *factory.Cluster
	// unreadable are the records of ended rollouts that list left out, and why.
	unreadable []error
}

// entry is a record as it was read or written last.
type entry struct {
	record *fleet.Record
	object *corev1.ConfigMap
	// written is what the ConfigMap holds.
	written string
}

func (s *store) explain(err error, verb, name string) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%s ConfigMap %s/%s, the record of a rollout: not allowed; next: ask for the Role seictl-fleet in namespace %s: %w",
			verb, settings.Namespace, name, settings.Namespace, err)
	}
	return s.cluster.Explain(err, verb, "configmaps", settings.Namespace, name)
}

// create stores a new record under a name of its own.
func (s *store) create(ctx context.Context, r *fleet.Record) (*entry, error) {
	stamp := r.StartedAt.UTC().Format("20060102-150405")
	for i := range 10 {
		r.Name = fmt.Sprintf("rollout-%s-%s", r.Chain, stamp)
		if i > 0 {
			r.Name += fmt.Sprintf("-%d", i)
		}
		data, err := r.Encode()
		if err != nil {
			return nil, err
		}
		cm := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: r.Name, Labels: labels(r)},
			Data:       map[string]string{recordKey: data},
		}
		err = s.cluster.Client.Create(ctx, cm, kube.FieldOwner(fleet.FieldManager))
		if err == nil {
			return &entry{record: r, object: cm, written: data}, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, s.explain(err, "create", r.Name)
		}
	}
	return nil, fmt.Errorf("creating the record of the rollout: rollouts of this second exist already; next: run the command again")
}

func labels(r *fleet.Record) map[string]string {
	return map[string]string{
		labelRollout: r.Name, labelChain: r.Chain, labelState: string(r.State), "app.kubernetes.io/part-of": "seictl",
	}
}

// errNoRecord says that there is no record of a rollout.
var errNoRecord = errors.New("no rollout")

// save writes a record if it changed. Somebody elsewhere may have paused or aborted it meanwhile: that is taken over.
func (s *store) save(ctx context.Context, e *entry) error {
	for {
		data, err := e.record.Encode()
		if err != nil {
			return err
		}
		if data == e.written {
			return nil
		}
		cm := e.object.DeepCopy()
		cm.Labels, cm.Data = labels(e.record), map[string]string{recordKey: data}
		err = s.cluster.Client.Update(ctx, cm, kube.FieldOwner(fleet.FieldManager))
		switch {
		case err == nil:
			e.object, e.written = cm, data
			return nil
		case apierrors.IsNotFound(err):
			return errNoRecord
		case !apierrors.IsConflict(err):
			return s.explain(err, "update", e.record.Name)
		}
		fresh, err := s.get(ctx, e.record.Name)
		if err != nil {
			return err
		}
		e.adopt(fresh)
	}
}

// rank orders states by what they end: a rollout that somebody aborted is not merely paused, and one that is paused does not run.
var rank = map[fleet.State]int{fleet.Running: 0, fleet.Failed: 1, fleet.Paused: 1, fleet.Complete: 2, fleet.Aborted: 3}

// adopt takes over what somebody elsewhere decided.
func (e *entry) adopt(fresh *entry) {
	if r := fresh.record; rank[r.State] > rank[e.record.State] {
		e.record.State, e.record.Reason, e.record.By = r.State, r.Reason, r.By
	}
	e.object, e.written = fresh.object, fresh.written
}

func (s *store) get(ctx context.Context, name string) (*entry, error) {
	var cm corev1.ConfigMap
	if err := s.cluster.Client.Get(ctx, kube.ObjectKey{Namespace: settings.Namespace, Name: name}, &cm); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%w named %s; next: seictl fleet history", errNoRecord, name)
		}
		return nil, s.explain(err, "get", name)
	}
	return decode(&cm)
}

func decode(cm *corev1.ConfigMap) (*entry, error) {
	r, err := fleet.Decode(cm.Data[recordKey])
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %[1]s/%[2]s: %[3]w; next: use the seictl that wrote it, or take it away with 'kubectl delete configmap -n %[1]s %[2]s'",
			cm.Namespace, cm.Name, err)
	}
	return &entry{record: r, object: cm, written: cm.Data[recordKey]}, nil
}

// list are the rollouts of a chain, or of all with an empty one, the latest first. A record that cannot be read stands in the
// way only if its rollout may not be at its end.
func (s *store) list(ctx context.Context, chain string) ([]*entry, error) {
	opts := []kube.ListOption{kube.InNamespace(settings.Namespace), kube.HasLabels{labelRollout}}
	if chain != "" {
		opts = append(opts, kube.MatchingLabels{labelChain: chain})
	}
	var cms corev1.ConfigMapList
	if err := s.cluster.Client.List(ctx, &cms, opts...); err != nil {
		return nil, s.explain(err, "list", "")
	}
	var out []*entry
	for i := range cms.Items {
		e, err := decode(&cms.Items[i])
		switch {
		case err == nil:
			out = append(out, e)
		case atEnd(&cms.Items[i]):
			s.unreadable = append(s.unreadable, err)
		default:
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b *entry) int {
		if c := b.record.StartedAt.Compare(a.record.StartedAt); c != 0 {
			return c
		}
		return strings.Compare(b.record.Name, a.record.Name)
	})
	return out, nil
}

// atEnd says whether a rollout is at its end, by the label of its record.
func atEnd(cm *corev1.ConfigMap) bool {
	state := fleet.State(cm.Labels[labelState])
	return state == fleet.Complete || state == fleet.Aborted
}

// find is the rollout of a name or, without one, the latest of a chain that fits.
func (s *store) find(ctx context.Context, name, chain string, fits func(*fleet.Record) bool, what string) (*entry, error) {
	if name != "" {
		return s.get(ctx, strings.TrimPrefix(name, "configmap/"))
	}
	if chain == "" {
		return nil, errors.New("no rollout named: give its NAME, or --chain CHAIN for the latest of a chain; next: seictl fleet history")
	}
	all, err := s.list(ctx, chain)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if fits(e.record) {
			return e, nil
		}
	}
	return nil, fmt.Errorf("chain %s has no rollout%s; next: seictl fleet history --chain %s", chain, what, chain)
}

// change changes a record that somebody may be driving, until no write of theirs is in between.
func (s *store) change(ctx context.Context, e *entry, edit func(*fleet.Record) error) (*entry, error) {
	for {
		if err := edit(e.record); err != nil {
			return nil, err
		}
		data, err := e.record.Encode()
		if err != nil {
			return nil, err
		}
		if data == e.written {
			return e, nil
		}
		cm := e.object.DeepCopy()
		cm.Labels, cm.Data = labels(e.record), map[string]string{recordKey: data}
		err = s.cluster.Client.Update(ctx, cm, kube.FieldOwner(fleet.FieldManager))
		if err == nil {
			return &entry{record: e.record, object: cm, written: data}, nil
		}
		if !apierrors.IsConflict(err) {
			return nil, s.explain(err, "update", e.record.Name)
		}
		if e, err = s.get(ctx, e.record.Name); err != nil {
			return nil, err
		}
	}
}

// age is how long ago something was, as kubectl writes it.
func age(now, at time.Time) string {
	d := now.Sub(at)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
