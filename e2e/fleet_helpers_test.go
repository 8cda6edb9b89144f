//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// fleet are running nodes of the scenario's chain: standalone ones, and the children of a SeiNodeDeployment "syncer".
func (s *S) fleet(standalone, children int) (nodes []*Node) {
	s.Helper()
	return s.fleets(chainOf{chain: s.chain, standalone: standalone, children: children})
}

// chainOf says how many nodes a chain has, of which kind, and what their names begin with.
type chainOf struct {
	chain, prefix        string
	standalone, children int
}

// fleets are running nodes of several chains, brought up together.
func (s *S) fleets(chains ...chainOf) (nodes []*Node) {
	s.Helper()
	var manifests []*v1alpha1.SeiNode
	born := false
	for _, c := range chains {
		for i := range c.standalone {
			name := fmt.Sprintf("%sax-%d", c.prefix, i)
			manifests = append(manifests, s.manifest(name, func(n *v1alpha1.SeiNode) { n.Spec.ChainID = c.chain }))
			nodes = append(nodes, &Node{s: s, name: name})
		}
		for i := range c.children {
			nodes = append(nodes, &Node{s: s, name: fmt.Sprintf("%ssyncer-%d", c.prefix, i)})
		}
		if c.children > 0 {
			s.bearChildren(c)
			born = true
		}
	}
	s.bear(manifests...)
	if born {
		s.run("node", "apply", "-l", v1alpha1.LabelDeployment, "-n", s.ns, "--yes", lockPatience).exits(done)
	}
	for _, n := range nodes {
		n.requireServing()
		n.eventually("the node is Ready", func(o *v1alpha1.SeiNode) bool { return o.Status.Phase == v1alpha1.PhaseRunning })
	}
	for _, c := range chains {
		s.drive(c.chain)
	}
	s.forgetRollouts()
	return nodes
}

// forgetRollouts removes the records, and the Lease of the chain's rollouts, when the scenario ends.
func (s *S) forgetRollouts() {
	s.Helper()
	s.Cleanup(func() {
		_ = s.client.DeleteAllOf(background(), &corev1.ConfigMap{}, client.InNamespace("sei-system"), client.MatchingLabels{"seictl.sei.io/chain": s.chain})
		_ = s.client.Delete(background(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "sei-system", Name: "seictl-rollout-" + s.chain}})
	})
}

// bearChildren makes a SeiNodeDeployment and its children, as the operator would.
func (s *S) bearChildren(c chainOf) {
	s.Helper()
	template := s.manifest("x").Spec
	template.ChainID = c.chain
	d := &v1alpha1.SeiNodeDeployment{
		ObjectMeta: metav1.ObjectMeta{Name: c.prefix + "syncer", Namespace: s.ns},
		Spec: v1alpha1.SeiNodeDeploymentSpec{
			Replicas: int32(c.children), Template: v1alpha1.SeiNodeTemplate{Spec: template},
		},
	}
	s.create(d)
	for i := range c.children {
		n := s.manifest(fmt.Sprintf("%s-%d", d.Name, i), func(n *v1alpha1.SeiNode) { n.Spec = *template.DeepCopy() })
		n.Labels = map[string]string{v1alpha1.LabelDeployment: d.Name}
		n.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, v1alpha1.GroupVersion.WithKind("SeiNodeDeployment"))}
		require.NoError(s, s.client.Create(s.Context(), n, client.FieldOwner("seictl-snd")))
	}
}

// drive has the nodes of a chain seen through.
func (s *S) drive(chain string) {
	s.Helper()
	s.run("node", "apply", "--chain", chain, "-n", s.ns, "--yes", lockPatience).exits(done)
}

func (s *S) fleetArgs(verb string, args ...string) []string {
	out := append([]string{"fleet", verb, "--chain", s.chain}, args...)
	switch verb {
	case "enable-tls", "disable-tls", "undo":
		return append(out, "--yes", lockPatience)
	case "resume":
		return append(out, lockPatience)
	}
	return out
}

// rollOut runs a fleet command to its end.
func (s *S) rollOut(verb string, args ...string) result {
	s.Helper()
	return s.run(s.fleetArgs(verb, args...)...)
}

// rollingOut starts one that goes on beside the scenario.
func (s *S) rollingOut(verb string, args ...string) *command {
	s.Helper()
	return s.command(s.seictl, nil, s.fleetArgs(verb, args...)...).start()
}

// rollout is what `fleet status -o json` says.
type rollout struct {
	Rollout struct {
		Name, State, Reason string
		Nodes               []struct {
			Name, Outcome, Detail string
			Wave                  int
		}
	}
	TLS map[string]int
}

func (s *S) rollout() (out rollout) {
	s.Helper()
	require.NoError(s, json.Unmarshal([]byte(s.command(s.seictl, nil, "fleet", "status", "--chain", s.chain, "-o", "json").start().wait().exits(done).out), &out))
	return out
}

// reached waits until a node of the rollout has an outcome.
func (s *S) reached(node, outcome string) {
	s.Helper()
	s.eventually(node+" is "+outcome, func() error {
		var cms corev1.ConfigMapList
		if err := s.client.List(s.Context(), &cms, client.InNamespace("sei-system"), client.MatchingLabels{"seictl.sei.io/chain": s.chain}); err != nil {
			return err
		}
		for i := range cms.Items {
			if strings.Contains(cms.Items[i].Data["rollout.json"], fmt.Sprintf(`"name":%q`, node)) {
				var r struct {
					Nodes []struct{ Name, Outcome string }
				}
				if err := json.Unmarshal([]byte(cms.Items[i].Data["rollout.json"]), &r); err != nil {
					return err
				}
				for _, n := range r.Nodes {
					if n.Name == node && n.Outcome == outcome {
						return nil
					}
				}
			}
		}
		return fmt.Errorf("not yet")
	})
}

// mostDown samples how many pods of each chain are not Ready at once, until stop is called. Who could not look has not seen
// that all was well.
func (s *S) mostDown() (stop func() map[string]int) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	most, samples, ended := map[string]int{}, 0, make(chan struct{})
	var trouble error
	go func() {
		defer close(ended)
		_ = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
			down, err := s.down(ctx)
			switch {
			case ctx.Err() != nil:
				return false, nil
			case err != nil:
				trouble = err
				return true, nil
			}
			samples++
			for chain, n := range down {
				most[chain] = max(most[chain], n)
			}
			return false, nil
		})
	}()
	return func() map[string]int {
		s.Helper()
		cancel()
		<-ended
		require.NoError(s, trouble, "sampling who is down")
		require.Positive(s, samples, "nobody looked who is down")
		return most
	}
}

// down is how many nodes of each chain of the scenario have no pod that is Ready.
func (s *S) down(ctx context.Context) (map[string]int, error) {
	var nodes v1alpha1.SeiNodeList
	var pods corev1.PodList
	if err := errors.Join(s.client.List(ctx, &nodes, client.InNamespace(s.ns)), s.client.List(ctx, &pods, client.InNamespace(s.ns))); err != nil {
		return nil, fmt.Errorf("listing nodes and pods: %w", err)
	}
	ready := map[string]bool{}
	for i := range pods.Items {
		ready[pods.Items[i].Name] = podReady(&pods.Items[i])
	}
	down := map[string]int{}
	for i := range nodes.Items {
		if n := &nodes.Items[i]; !ready[n.Name+"-0"] {
			down[n.Spec.ChainID]++
		}
	}
	return down, nil
}

// onceEach requires that each node is cycled once in what do does.
func (s *S) onceEach(nodes []*Node, do func()) {
	s.Helper()
	run := do
	for _, n := range nodes {
		inner := run
		run = func() { n.cycles(1, inner) }
	}
	run()
}
