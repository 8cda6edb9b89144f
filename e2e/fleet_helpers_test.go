//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
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

// fleet are running nodes of one chain: standalone ones, and the children of a SeiNodeDeployment "syncer".
func (s *S) fleet(standalone, children int) (nodes []*Node) {
	s.Helper()
	var manifests []*v1alpha1.SeiNode
	for i := range standalone {
		manifests = append(manifests, s.manifest(fmt.Sprintf("ax-%d", i)))
	}
	if children > 0 {
		s.bearChildren(children)
	}
	s.bear(manifests...)
	if children > 0 {
		s.drive()
	}
	for i := range standalone {
		nodes = append(nodes, &Node{s: s, name: fmt.Sprintf("ax-%d", i)})
	}
	for i := range children {
		nodes = append(nodes, &Node{s: s, name: fmt.Sprintf("syncer-%d", i)})
	}
	for _, n := range nodes {
		n.requireServing()
		n.eventually("the node is Ready", func(o *v1alpha1.SeiNode) bool { return o.Status.Phase == v1alpha1.PhaseRunning })
	}
	s.drive()
	s.Cleanup(func() {
		// The records, and the Lease of the chain's rollouts.
		_ = s.client.DeleteAllOf(background(), &corev1.ConfigMap{}, client.InNamespace("sei-system"), client.MatchingLabels{"seictl.sei.io/chain": s.chain})
		_ = s.client.Delete(background(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "sei-system", Name: "seictl-rollout-" + s.chain}})
	})
	return nodes
}

// bearChildren makes a SeiNodeDeployment and its children, as the operator would.
func (s *S) bearChildren(replicas int) {
	s.Helper()
	d := &v1alpha1.SeiNodeDeployment{
		ObjectMeta: metav1.ObjectMeta{Name: "syncer", Namespace: s.ns},
		Spec: v1alpha1.SeiNodeDeploymentSpec{
			Replicas: int32(replicas), Template: v1alpha1.SeiNodeTemplate{Spec: s.manifest("x").Spec},
		},
	}
	s.create(d)
	for i := range replicas {
		n := s.manifest(fmt.Sprintf("syncer-%d", i))
		n.Labels = map[string]string{v1alpha1.LabelDeployment: d.Name}
		n.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, v1alpha1.GroupVersion.WithKind("SeiNodeDeployment"))}
		require.NoError(s, s.client.Create(s.Context(), n, client.FieldOwner("seictl-snd")))
	}
}

// drive has the nodes of the chain seen through.
func (s *S) drive() {
	s.Helper()
	s.run("node", "apply", "--chain", s.chain, "-n", s.ns, "--yes", lockPatience).exits(done)
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

// mostDown samples how many pods of the chain are not Ready at once, until stop is called.
func (s *S) mostDown() (stop func() int) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	most, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		_ = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
			var nodes v1alpha1.SeiNodeList
			var pods corev1.PodList
			if s.client.List(ctx, &nodes, client.InNamespace(s.ns)) != nil || s.client.List(ctx, &pods, client.InNamespace(s.ns)) != nil {
				return false, nil
			}
			down := len(nodes.Items)
			for i := range pods.Items {
				if podReady(&pods.Items[i]) {
					down--
				}
			}
			most = max(most, down)
			return false, nil
		})
	}()
	return func() int {
		cancel()
		<-ended
		return most
	}
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
