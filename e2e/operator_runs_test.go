//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// born is a node that the operator brought up.
func (s *S) born(name string, edits ...func(*v1alpha1.SeiNode)) *Node {
	s.Helper()
	m := s.manifest(name, edits...)
	s.foresee("-f", s.write(m))
	s.create(m)
	n := &Node{s: s, name: name}
	n.eventually("Ready", isReady)
	n.foreseen()
	return n
}

func (s *S) bornAll(names ...string) (nodes []*Node) {
	s.Helper()
	for _, name := range names {
		s.create(s.manifest(name))
		nodes = append(nodes, &Node{s: s, name: name})
	}
	for _, n := range nodes {
		n.eventually("Ready", isReady)
	}
	return nodes
}

func isReady(o *v1alpha1.SeiNode) bool {
	c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.Generation && o.Status.ObservedGeneration == o.Generation
}

// awaitUpdate waits until the last edit is carried out and the node is Ready.
func (n *Node) awaitUpdate() {
	n.s.Helper()
	n.eventually("the edit is carried out", func(o *v1alpha1.SeiNode) bool { return isReady(o) && !o.Status.Plan.Active() })
	n.foreseen()
}

// requireCycles requires so many incarnations of each node's pod.
func (s *S) requireCycles(nodes []*Node, want int) {
	s.Helper()
	for _, n := range nodes {
		require.Len(s, n.settledPods(), want, "pods of %s", n.name)
	}
}

// requireQuiet requires that the operator writes nothing for a while.
func (s *S) requireQuiet() {
	s.Helper()
	const quiet = 6 * time.Second
	offset, since := s.auditSize(), time.Now()
	require.Eventually(s, func() bool {
		if writes := s.operatorWrites(offset); len(writes) > 0 {
			// The end of the story before: start over.
			offset, since = s.auditSize(), time.Now()
		}
		return time.Since(since) > quiet
	}, 3*quiet, 200*time.Millisecond, "writes: %v", s.operatorWrites(offset))
}

func (s *S) deployment(name string, replicas int32) *v1alpha1.SeiNodeDeployment {
	return &v1alpha1.SeiNodeDeployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.ns},
		Spec: v1alpha1.SeiNodeDeploymentSpec{
			Replicas: replicas, Template: v1alpha1.SeiNodeTemplate{Spec: s.manifest("x").Spec},
		},
	}
}

// awaitDeployment waits until every child runs the template and is Ready.
func (s *S) awaitDeployment(name string, within time.Duration) {
	s.Helper()
	var d v1alpha1.SeiNodeDeployment
	require.Eventually(s, func() bool {
		return s.get(name, &d) == nil && d.Status.ObservedGeneration == d.Generation && d.Status.Phase == v1alpha1.DeploymentReady &&
			d.Status.UpdatedReplicas == d.Spec.Replicas
	}, within, 200*time.Millisecond, "SeiNodeDeployment %s", name)
}

func (s *S) editDeployment(name string, change func(*v1alpha1.SeiNodeDeployment)) {
	s.Helper()
	var d v1alpha1.SeiNodeDeployment
	require.NoError(s, s.get(name, &d))
	before := d.DeepCopy()
	change(&d)
	require.NoError(s, s.client.Patch(s.Context(), &d, client.MergeFrom(before)))
}

// foreseeChildren takes the previews of what an edit of the template makes of each child.
func (s *S) foreseeChildren(name string, tls *v1alpha1.SidecarTLSConfig) {
	s.Helper()
	s.foresee(append([]string{"-l", v1alpha1.LabelDeployment + "=" + name, "-n", s.ns}, tlsFlags(tls)...)...)
}

func templateTLS(issuer string) func(*v1alpha1.SeiNodeDeployment) {
	return func(d *v1alpha1.SeiNodeDeployment) {
		d.Spec.Template.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: byIssuer(issuer)}
	}
}

// deploymentEvent waits for an event of a SeiNodeDeployment.
func (s *S) deploymentEvent(reason string, texts ...string) {
	s.Helper()
	s.eventually("event "+reason, func() error {
		var list corev1.EventList
		if err := s.client.List(s.Context(), &list, client.InNamespace(s.ns)); err != nil {
			return err
		}
		for i := range list.Items {
			e := &list.Items[i]
			if e.InvolvedObject.Kind == "SeiNodeDeployment" && e.Reason == reason && holdsAll(e.Message, texts) {
				return nil
			}
		}
		return fmt.Errorf("none of %d events", len(list.Items))
	})
}

func deploymentRun(s *S) {
	s.create(s.deployment("fleet", 5))
	s.awaitDeployment("fleet", patience)
	var nodes []*Node
	for i := range 5 {
		nodes = append(nodes, &Node{s: s, name: "fleet-" + strconv.Itoa(i)})
	}
	o := s.watchOutage()
	s.foreseeChildren("fleet", byIssuer(issuerA))
	s.editDeployment("fleet", templateTLS(issuerA))
	nodes[1].eventually("the second child is under way", func(n *v1alpha1.SeiNode) bool { return n.Status.Plan.Active() })
	s.killOperator()
	s.awaitDeployment("fleet", 3*patience)
	for _, n := range nodes {
		n.requireTLS("ClusterIssuer/" + issuerA)
	}
	o.requireAtMost(s, 1)
	s.requireCycles(nodes, 2)
	s.foreseen()

	nodes[2].edit(func(n *v1alpha1.SeiNode) { n.Spec.PodLabels = map[string]string{"by": "hand"} })
	s.deploymentEvent(v1alpha1.ReasonChildPutBack, "fleet-2", "kubectl-edit")
	s.awaitDeployment("fleet", patience)
	require.Empty(s, nodes[2].get().Spec.PodLabels)

	s.editDeployment("fleet", func(d *v1alpha1.SeiNodeDeployment) { d.Spec.Replicas = 3 })
	s.eventually("the highest ordinals are gone", func() error {
		for _, name := range []string{"fleet-3", "fleet-4"} {
			if err := s.get(name, &v1alpha1.SeiNode{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s is still there, or: %w", name, errors.Join(errNotYet, err))
			}
		}
		return nil
	})
	s.awaitDeployment("fleet", patience)
	for _, n := range nodes {
		require.NotEmpty(s, s.claim(n))
	}
	s.requireQuiet()
}

func settingsRun(s *S) {
	key := types.NamespacedName{Namespace: "sei-system", Name: "seictl-config"}
	var good corev1.ConfigMap
	require.NoError(s, s.client.Get(s.Context(), key, &good))
	put := func(text string) {
		var cm corev1.ConfigMap
		require.NoError(s, s.client.Get(background(), key, &cm))
		cm.Data = map[string]string{"config.yaml": text}
		require.NoError(s, s.client.Update(background(), &cm))
	}
	text := good.Data["config.yaml"]
	s.Cleanup(func() { put(text) })
	nodes := s.bornAll("ax-0", "ax-1", "ax-2")
	put(text + "clusterDomian: x\n")
	s.eventually("the event names the field", func() error {
		var list corev1.EventList
		if err := s.client.List(s.Context(), &list, client.InNamespace(key.Namespace)); err != nil {
			return err
		}
		if !slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
			return e.Reason == "SettingsInvalid" && strings.Contains(e.Message, "clusterDomian")
		}) {
			return fmt.Errorf("none of %d events", len(list.Items))
		}
		return nil
	})
	nodes[0].setImage(imageV2)
	nodes[0].awaitUpdate()
	// A budget of three: all at once.
	put(text + "budgets:\n  chains:\n    " + s.chain + ": 3\n")
	for _, n := range nodes {
		n.setTLS(byIssuer(issuerA))
	}
	s.eventually("three plans are past their gate at once", func() error {
		for _, n := range nodes {
			t := n.get().Status.Plan.Task(v1alpha1.TaskReplacePod)
			if t == nil || t.StartedAt == nil {
				return fmt.Errorf("%s has not got there", n.name)
			}
		}
		return nil
	})
	for _, n := range nodes {
		n.awaitUpdate()
	}
}

func metricsRun(s *S) {
	n := s.born("ax-0", withTLS(*byIssuer(issuerA)))
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "scraper", Namespace: s.ns}}
	s.create(account)
	code, _ := s.scrape("scraper")
	require.Equal(s, http.StatusForbidden, code, "nobody has bound the role")
	code, _ = s.scrape("")
	require.Equal(s, http.StatusUnauthorized, code)
	account.Name = "reader"
	account.ResourceVersion = ""
	s.create(account)
	s.bind("reader", "seictl-metrics-reader")
	label := fmt.Sprintf(`{name=%q,namespace=%q}`, n.name, s.ns)
	s.eventually("the metrics of the node", func() error {
		code, text := s.scrape("reader")
		for _, want := range []string{
			"seinode_sidecar_tls_secret_ready" + label + " 1", "seinode_sidecar_tls_served_cert_current" + label + " 1",
			"seinode_plan_active" + label + " 0", "seinode_sidecar_tls_cert_not_after_timestamp_seconds" + label,
			`seinode_plan_duration_seconds_count{outcome="complete",type="init"}`,
			`seinode_task_duration_seconds_count{outcome="complete",task="observe-sidecar-tls"}`,
		} {
			if !strings.Contains(text, want) {
				return fmt.Errorf("%d: no %s", code, want)
			}
		}
		return nil
	})
	s.delete(n.name, &v1alpha1.SeiNode{})
	s.eventually("the node's series are gone", func() error {
		if code, text := s.scrape("reader"); code != http.StatusOK || strings.Contains(text, s.ns) {
			return fmt.Errorf("%d: still there", code)
		}
		return nil
	})
}

// killedRun runs the operator as a process of this machine, so that it can be killed and started again at once.
func killedRun(s *S) {
	kills, fleet := number(s, "E2E_KILLS", 5), number(s, "E2E_FLEET", 6)
	s.uninstallOperator()
	defer s.installOperator()
	start := func() *command {
		return s.command(s.seictl, nil, "operator", "run", "--metrics-bind-address=0", "--health-probe-bind-address=0").start()
	}
	c := start()
	s.create(s.deployment("fleet", int32(fleet)))
	within := time.Duration(fleet+kills) * 20 * time.Second
	s.awaitDeployment("fleet", within)
	var nodes []*Node
	for i := range fleet {
		nodes = append(nodes, &Node{s: s, name: "fleet-" + strconv.Itoa(i)})
	}
	o := s.watchOutage()
	s.foreseeChildren("fleet", byIssuer(issuerA))
	s.editDeployment("fleet", templateTLS(issuerA))
	for k := range kills {
		// A random moment that needs no clock: some writes after the last one.
		s.someWrites(k)
		c.signal(os.Kill)
		<-c.ended
		c = start()
	}
	s.awaitDeployment("fleet", within)
	s.eventually("the last one leads", func() error {
		var l coordinationv1.Lease
		if err := s.client.Get(s.Context(), types.NamespacedName{Namespace: "sei-system", Name: "seictl-engine"}, &l); err != nil {
			return err
		}
		if pid := fmt.Sprintf("pid=%d,", c.cmd.Process.Pid); l.Spec.HolderIdentity == nil || !strings.Contains(*l.Spec.HolderIdentity, pid) {
			return fmt.Errorf("the Lease is not that of %s", pid)
		}
		return nil
	})
	c.signal(os.Interrupt)
	<-c.ended
	o.requireAtMost(s, 1)
	s.requireCycles(nodes, 2)
}
