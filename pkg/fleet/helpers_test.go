package fleet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var (
	issuerTLS = &v1alpha1.SidecarTLSConfig{IssuerName: "pacific-1-ca", IssuerKind: v1alpha1.IssuerKindClusterIssuer}
	otherTLS  = &v1alpha1.SidecarTLSConfig{IssuerName: "old-ca", IssuerKind: v1alpha1.IssuerKindClusterIssuer}
	secretTLS = &v1alpha1.SidecarTLSConfig{SecretName: "mine"}
)

// world is a fleet, and an engine and an operator that work on it one step at a time.
type world struct {
	t           *testing.T
	now         time.Time
	nodes       []*v1alpha1.SeiNode
	deployments []*v1alpha1.SeiNodeDeployment
	budget      intstr.IntOrString
	// fails says why the plan of a node fails; lags keeps its seid from catching up.
	fails map[string]string
	lags  map[string]bool
	chain map[types.NamespacedName]fleet.ChainSample
	// cycles counts the pod cycles of each node, most is the highest number of nodes under way at once.
	cycles map[string]int
	most   int
	edits  []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, now: now, budget: intstr.FromInt32(100), fails: map[string]string{}, lags: map[string]bool{},
		chain: map[types.NamespacedName]fleet.ChainSample{}, cycles: map[string]int{}}
}

func condition(n *v1alpha1.SeiNode, conditionType string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message, ObservedGeneration: n.Generation,
	})
}

// node adds a node that runs what its spec says.
func (w *world) node(name string, edits ...func(*v1alpha1.SeiNode)) *v1alpha1.SeiNode {
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "fleet", UID: types.UID(name), Generation: 1},
		Spec:       v1alpha1.SeiNodeSpec{ChainID: "pacific-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{}},
	}
	for _, e := range edits {
		e(n)
	}
	w.settle(n)
	w.nodes = append(w.nodes, n)
	return n
}

// settle has a node run what its spec says.
func (w *world) settle(n *v1alpha1.SeiNode) {
	first := metav1.NewTime(now.Add(-time.Hour))
	st := &n.Status
	st.Phase, st.ObservedGeneration, st.FirstReadyAt, st.CurrentImage = v1alpha1.PhaseRunning, n.Generation, &first, n.Spec.Image
	st.CurrentSidecarTLS = nil
	if tls := n.SidecarTLS(); tls != nil {
		st.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *tls, FingerprintSHA256: "f1"}
		condition(n, v1alpha1.ConditionSidecarTLSSecretReady, metav1.ConditionTrue, v1alpha1.ReasonTLSSecretReady, "")
	}
	st.Plan, st.Hold = nil, nil
	condition(n, v1alpha1.ConditionSidecarReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "")
	condition(n, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "")
}

func tls(c *v1alpha1.SidecarTLSConfig) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) { n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: c.DeepCopy()} }
}

func archive(n *v1alpha1.SeiNode) {
	n.Spec.FullNode, n.Spec.Archive = nil, &v1alpha1.ArchiveSpec{}
}

func validator(n *v1alpha1.SeiNode) {
	n.Spec.FullNode, n.Spec.Validator = nil, &v1alpha1.ValidatorSpec{}
}

func pausedNode(n *v1alpha1.SeiNode) { n.Spec.Paused = true }

func labelled(key, value string) func(*v1alpha1.SeiNode) {
	return func(n *v1alpha1.SeiNode) { n.Labels = map[string]string{key: value} }
}

// snd adds a SeiNodeDeployment with its children.
func (w *world) snd(name string, replicas, maxUnavailable int, edits ...func(*v1alpha1.SeiNode)) *v1alpha1.SeiNodeDeployment {
	width := intstr.FromInt(maxUnavailable)
	d := &v1alpha1.SeiNodeDeployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "fleet", UID: types.UID(name), Generation: 1},
		Spec:       v1alpha1.SeiNodeDeploymentSpec{Replicas: int32(replicas), UpdateStrategy: v1alpha1.UpdateStrategy{MaxUnavailable: &width}},
	}
	w.deployments = append(w.deployments, d)
	for i := range replicas {
		n := w.node(fmt.Sprintf("%s-%d", name, i), edits...)
		n.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, v1alpha1.GroupVersion.WithKind(fleet.KindDeployment))}
		n.Labels = map[string]string{v1alpha1.LabelDeployment: name}
		d.Spec.Template.Spec = *n.Spec.DeepCopy()
	}
	return d
}

func (w *world) settings() settings.Settings {
	s := settings.Default()
	s.Budgets.MaxUnavailablePerChain = w.budget
	return s
}

func (w *world) strategy() fleet.Strategy {
	return fleet.Strategy{Canary: 1, MaxUnavailable: intstr.FromInt32(2), GateTimeout: 5 * time.Minute}
}

func (w *world) input(goal fleet.Goal, s fleet.Strategy) fleet.Input {
	ready := map[types.NamespacedName]bool{}
	for _, n := range w.nodes {
		ready[key(n)] = meta.IsStatusConditionTrue(n.Status.Conditions, v1alpha1.ConditionSidecarReady)
	}
	return fleet.Input{
		Selection: fleet.Selection{Chain: "pacific-1"}, Nodes: w.nodes, Deployments: w.deployments, PodReady: ready,
		Goal: goal, Strategy: s, Settings: w.settings(), Now: w.now,
	}
}

func (w *world) build(goal fleet.Goal, s fleet.Strategy) (*fleet.Plan, *fleet.Record) {
	w.t.Helper()
	p, r, err := fleet.Build(w.input(goal, s))
	require.NoError(w.t, err)
	r.Name = "r"
	return p, r
}

func key(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func (w *world) view() fleet.View {
	v := fleet.View{Nodes: map[types.NamespacedName]*v1alpha1.SeiNode{}, Deployments: map[types.NamespacedName]*v1alpha1.SeiNodeDeployment{},
		Chain: w.chain, Now: w.now}
	for _, n := range w.nodes {
		v.Nodes[key(n)] = n
	}
	for _, d := range w.deployments {
		v.Deployments[key(d)] = d
	}
	return v
}

func (w *world) find(name string) *v1alpha1.SeiNode {
	for _, n := range w.nodes {
		if n.Name == name {
			return n
		}
	}
	require.FailNow(w.t, "no node "+name)
	return nil
}

// carry carries a decision out.
func (w *world) carry(r *fleet.Record, d fleet.Decision) {
	for i := range r.Objects {
		e, ok := d.Edits[i]
		if !ok {
			continue
		}
		o := &r.Objects[i]
		w.edits = append(w.edits, fmt.Sprintf("%s %s withheld=%v", o.Object, e.TLS, e.Withheld))
		o.Edited = true
		for j, x := range w.deployments {
			if o.Kind == fleet.KindDeployment && key(x) == o.Key() {
				w.deployments[j] = fleet.EditDeployment(x, e)
			}
		}
		if o.Kind == fleet.KindNode {
			w.replace(fleet.EditNode(w.find(o.Name), e))
		}
	}
	for k, v := range d.Retries {
		n := w.find(k.Name).DeepCopy()
		n.Annotations = map[string]string{v1alpha1.AnnotationRetryRequestedAt: v}
		w.replace(n)
	}
	for _, k := range d.Probes {
		s, ok := w.chain[k]
		at := r.Nodes[indexOf(r, k)].AtTargetAt
		if !ok || s.Since.Before(*at) {
			s = fleet.ChainSample{Since: w.now, First: 100, Height: 100}
		} else if !w.lags[k.Name] {
			s.Height++
		}
		s.CatchingUp = w.lags[k.Name]
		w.chain[k] = s
	}
}

func indexOf(r *fleet.Record, k types.NamespacedName) int {
	for i := range r.Nodes {
		if r.Nodes[i].Key() == k {
			return i
		}
	}
	return -1
}

func (w *world) replace(n *v1alpha1.SeiNode) {
	for i, old := range w.nodes {
		if old.Name == n.Name {
			if !old.SidecarTLS().Equal(n.SidecarTLS()) {
				n.Generation++
			}
			w.nodes[i] = n
		}
	}
}

// engine runs one step of every node, and of the operator.
func (w *world) engine() {
	underWay := 0
	for _, d := range w.deployments {
		for _, a := range deployment.Evaluate(deployment.Input{Deployment: d, Nodes: w.nodes, Now: w.now}).Actions {
			w.replace(a.Node)
		}
	}
	for i := range w.nodes {
		n := w.nodes[i].DeepCopy()
		w.nodes[i] = n
		target := n.SidecarTLS()
		if target == nil && !n.TLSRemovalAllowed() {
			target = n.Status.CurrentSidecarTLS.Config()
		}
		retry := n.Annotations[v1alpha1.AnnotationRetryRequestedAt]
		switch p := n.Status.Plan; {
		case n.Spec.Paused:
		case p.Active():
			underWay++
			if why := w.fails[n.Name]; why != "" {
				p.Phase, p.FailedTaskDetail = v1alpha1.PlanFailed, why
				break
			}
			w.cycles[n.Name]++
			w.settle(n)
		case !target.Equal(n.Status.CurrentSidecarTLS.Config()) &&
			(p == nil || !p.Target.SidecarTLS.Equal(target) || p.RetrySeen != retry):
			underWay++
			n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, RetrySeen: retry,
				Target: v1alpha1.PlanTarget{Image: n.Spec.Image, SidecarTLS: target},
				Tasks:  []v1alpha1.Task{{Type: v1alpha1.TaskWaitForSidecarTLSSecret, Status: v1alpha1.TaskRunning}, {Type: v1alpha1.TaskApplyStatefulSet}}}
			condition(n, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTLSToggleStarted, "")
			n.Status.ObservedGeneration = n.Generation
		case n.Status.ObservedGeneration != n.Generation && target.Equal(n.Status.CurrentSidecarTLS.Config()):
			w.settle(n)
		}
	}
	for _, n := range w.nodes {
		if n.SidecarTLS() == nil && n.Status.CurrentSidecarTLS == nil && !n.Status.Plan.Active() {
			delete(n.Annotations, v1alpha1.AnnotationAllowTLSRemoval)
		}
	}
	w.most = max(w.most, underWay)
}

// run carries a rollout out to its end, and returns what it came to.
func (w *world) run(r *fleet.Record) *fleet.Record {
	w.t.Helper()
	for step := range 1000 {
		// What a crash loses: the record is what is stored.
		data, err := r.Encode()
		require.NoError(w.t, err)
		r, err = fleet.Decode(data)
		require.NoError(w.t, err)
		d := fleet.Step(r, w.view())
		if d.Ended {
			return r
		}
		w.carry(r, d)
		w.engine()
		w.now = w.now.Add(10 * time.Second)
		require.Less(w.t, step, 999, "the rollout does not end: %+v", r)
	}
	return r
}

func outcomes(r *fleet.Record) map[string]fleet.Outcome {
	out := map[string]fleet.Outcome{}
	for i := range r.Nodes {
		out[r.Nodes[i].Name] = r.Nodes[i].Outcome
	}
	return out
}
