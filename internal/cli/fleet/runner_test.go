package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

// rolling is the runner of a stored rollout over nodes of a fake cluster, all in one wave.
func rolling(t *testing.T, nodes int, funcs interceptor.Funcs) (*runner, *session) {
	t.Helper()
	in := fleet.Input{
		Selection: fleet.Selection{Chain: "pacific-1"}, Settings: settings.Default(), Now: at,
		Goal:     fleet.Goal{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "pacific-1-ca", IssuerKind: "ClusterIssuer"}},
		Strategy: fleet.Strategy{MaxUnavailable: intstr.FromInt(nodes), GateTimeout: time.Minute},
	}
	in.Settings.Budgets.MaxUnavailablePerChain = intstr.FromInt(nodes)
	builder := fake.NewClientBuilder().WithScheme(factory.Scheme()).WithInterceptorFuncs(funcs).
		WithIndex(&corev1.ConfigMap{}, "metadata.name", func(o kube.Object) []string { return []string{o.GetName()} })
	for i := range nodes {
		n := seiNode(fmt.Sprintf("ax-%d", i))
		builder = builder.WithObjects(n)
		in.Nodes = append(in.Nodes, n)
	}
	c := builder.Build()
	var out bytes.Buffer
	f := factory.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &out})
	f.Now = func() time.Time { return at }
	cluster := &factory.Cluster{Client: c, Host: "fake"}
	format := output.NewFormat(output.JSON)
	s := &session{Factory: f, cluster: cluster, store: &store{cluster: cluster}, output: &format}
	for _, n := range in.Nodes {
		require.NoError(t, c.Get(t.Context(), kube.ObjectKeyFromObject(n), n))
	}
	_, record, err := fleet.Build(in)
	require.NoError(t, err)
	record.Action, record.StartedAt, record.State = actionEnable, at, fleet.Running
	r := s.runner(&proposal{record: record, settings: in.Settings, observed: &observed{nodes: in.Nodes}})
	r.driver = &drive.Driver{}
	r.entry, err = s.store.create(t.Context(), record)
	require.NoError(t, err)
	r.told = record.Clone()
	return r, s
}

func TestWhatIsRefusedOnceIsNotAskedForEverywhere(t *testing.T) {
	var asked atomic.Int32
	r, _ := rolling(t, 5*editsAtOnce, interceptor.Funcs{
		Patch: func(context.Context, kube.WithWatch, kube.Object, kube.Patch, ...kube.PatchOption) error {
			asked.Add(1)
			return apierrors.NewForbidden(schema.GroupResource{Group: "sei.io", Resource: "seinodes"}, "", errors.New("no"))
		},
	})
	_, _, err := r.pass(t.Context())
	require.ErrorContains(t, err, "not allowed")
	require.LessOrEqual(t, int(asked.Load()), editsAtOnce)
	for _, o := range r.entry.record.Objects {
		require.False(t, o.Edited)
	}
}

func TestEditsPassOverWhatHasGoneAway(t *testing.T) {
	r, _ := rolling(t, 3*editsAtOnce, interceptor.Funcs{})
	gone := r.entry.record.Objects[1].Key()
	d := fleet.Step(r.entry.record, r.view())
	require.Len(t, d.Edits, 3*editsAtOnce)
	delete(r.nodes, gone)
	again, err := r.carryOut(t.Context(), d)
	require.NoError(t, err)
	require.True(t, again, "what has gone away is decided on once more")
	for _, o := range r.entry.record.Objects {
		require.Equal(t, o.Key() != gone, o.Edited, o.Name)
		var n v1alpha1.SeiNode
		require.NoError(t, r.cluster.Client.Get(t.Context(), o.Key(), &n))
		require.Equal(t, o.Edited, n.SidecarTLS() != nil, o.Name)
	}
}

func TestADeletedRecordEndsTheRollout(t *testing.T) {
	r, _ := rolling(t, 2, interceptor.Funcs{})
	require.NoError(t, r.cluster.Client.Delete(t.Context(), r.entry.object))
	_, _, err := r.pass(t.Context())
	require.ErrorContains(t, err, "ConfigMap "+settings.Namespace+"/"+r.entry.record.Name+", was deleted: nothing more is changed")
	var nodes v1alpha1.SeiNodeList
	require.NoError(t, r.cluster.Client.List(t.Context(), &nodes))
	for i := range nodes.Items {
		require.Nil(t, nodes.Items[i].SidecarTLS())
	}
}

// While a lock was lost somebody else may have driven the rollout: what they wrote counts, and nodes may have gone away.
func TestReloadAfterALostLock(t *testing.T) {
	r, s := rolling(t, 3, interceptor.Funcs{})
	r.entry.record.Nodes[2].Detail = "known to this driver only"
	require.NoError(t, r.reload(t.Context()))
	require.Equal(t, "known to this driver only", r.entry.record.Nodes[2].Detail, "nobody else wrote")

	other, err := s.store.get(t.Context(), r.entry.record.Name)
	require.NoError(t, err)
	_, err = s.store.change(t.Context(), other, func(record *fleet.Record) error {
		record.Nodes[0].Outcome = fleet.Done
		return nil
	})
	require.NoError(t, err)
	gone := r.entry.record.Nodes[1].Key()
	require.NoError(t, r.cluster.Client.Delete(t.Context(), r.nodes[gone].DeepCopy()))
	require.NoError(t, r.reload(t.Context()))
	require.Equal(t, fleet.Done, r.entry.record.Nodes[0].Outcome)
	require.Empty(t, r.entry.record.Nodes[2].Detail)
	require.NotContains(t, slices.Collect(maps.Keys(r.nodes)), gone)
	require.Len(t, r.nodes, 2)
}

func TestUnreadableRecords(t *testing.T) {
	_, s := rolling(t, 1, interceptor.Funcs{})
	broken := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: "rollout-broken"}}
	broken.Labels = map[string]string{labelRollout: broken.Name, labelChain: "pacific-1", labelState: string(fleet.Complete)}
	broken.Data = map[string]string{recordKey: "{"}
	require.NoError(t, s.cluster.Client.Create(t.Context(), broken))
	all, err := s.store.list(t.Context(), "pacific-1")
	require.NoError(t, err)
	require.Len(t, all, 1, "one that is at its end stands in nobody's way")
	require.Len(t, s.store.unreadable, 1)

	broken.Labels[labelState] = string(fleet.Paused)
	require.NoError(t, s.cluster.Client.Update(t.Context(), broken))
	_, err = s.store.list(t.Context(), "pacific-1")
	require.ErrorContains(t, err, "ConfigMap sei-system/rollout-broken: reading the record")
	require.ErrorContains(t, err, "next: use the seictl that wrote it")
}

func TestFollowingARollout(t *testing.T) {
	for name, tc := range map[string]struct {
		write func(*testing.T, *session, *entry)
		err   error
	}{
		"to its end": {write: func(t *testing.T, s *session, e *entry) {
			_, err := s.store.change(t.Context(), e, func(r *fleet.Record) error { r.State = fleet.Complete; return nil })
			require.NoError(t, err)
		}},
		"whose record is deleted": {write: func(t *testing.T, s *session, e *entry) {
			require.NoError(t, s.cluster.Client.Delete(t.Context(), e.object))
		}, err: errNoRecord},
	} {
		t.Run(name, func(t *testing.T) {
			watching := make(chan struct{})
			r, s := rolling(t, 1, interceptor.Funcs{
				Watch: func(ctx context.Context, c kube.WithWatch, list kube.ObjectList, o ...kube.ListOption) (watch.Interface, error) {
					w, err := c.Watch(ctx, list, o...)
					close(watching)
					return w, err
				},
			})
			e, err := s.store.get(t.Context(), r.entry.record.Name)
			require.NoError(t, err)
			go func() {
				<-watching
				tc.write(t, s, r.entry)
			}()
			e, err = s.watch(t.Context(), e)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err)
				require.ErrorContains(t, err, "next: seictl fleet history")
				return
			}
			require.NoError(t, err)
			require.Equal(t, fleet.Complete, e.record.State)
		})
	}
}

// What somebody elsewhere decided meanwhile is taken over.
func TestSaveTakesOverAPause(t *testing.T) {
	r, s := rolling(t, 1, interceptor.Funcs{})
	other, err := s.store.get(t.Context(), r.entry.record.Name)
	require.NoError(t, err)
	_, err = s.store.change(t.Context(), other, func(r *fleet.Record) error { r.State, r.Reason = fleet.Paused, "asked for"; return nil })
	require.NoError(t, err)
	r.entry.record.Nodes[0].Detail = "changed"
	require.NoError(t, s.store.save(t.Context(), r.entry))
	stored, err := s.store.get(t.Context(), r.entry.record.Name)
	require.NoError(t, err)
	require.Equal(t, fleet.Paused, stored.record.State)
	require.Equal(t, "changed", stored.record.Nodes[0].Detail)
	require.Equal(t, types.NamespacedName{Namespace: "fleet", Name: "ax-0"}, stored.record.Nodes[0].Key())
}
