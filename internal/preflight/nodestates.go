package preflight

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

// checkNodesUpdated: no node is held, blocked, failed or written by another controller.
func checkNodesUpdated(f *ClusterFacts) []Line {
	return eachNode(f, "no node is held, blocked or failed", func(n *v1alpha1.SeiNode) *Line {
		retry := fmt.Sprintf("seictl node retry %s -n %s", n.Name, n.Namespace)
		progress := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionNodeUpdateInProgress)
		ready := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case n.Status.Hold != nil:
			return lineOf(failed(fmt.Sprintf("held since %s: %s", n.Status.Hold.Since.UTC().Format(time.RFC3339), n.Status.Hold.Reason), retry))
		case n.Status.Phase == v1alpha1.PhaseFailed:
			return lineOf(failed("its initialisation failed"+detailOf(n), retry))
		case progress != nil && progress.Reason == v1alpha1.ReasonUpdateBlocked:
			return lineOf(failed("its update is blocked: "+progress.Message, fmt.Sprintf("seictl node status %s -n %s", n.Name, n.Namespace)))
		case n.Status.Plan != nil && n.Status.Plan.Phase == v1alpha1.PlanFailed:
			return lineOf(failed("its plan failed"+detailOf(n), retry))
		case ready != nil && ready.Reason == v1alpha1.ReasonForeignController:
			return lineOf(failed(ready.Message, "kubectl get deployments -A | grep seinode-controller"))
		}
		return nil
	})
}

func detailOf(n *v1alpha1.SeiNode) string {
	switch {
	case n.Status.Plan != nil && n.Status.Plan.FailedTaskDetail != "":
		return ": " + n.Status.Plan.FailedTaskDetail
	case n.Status.LastPlan != nil && n.Status.LastPlan.Detail != "":
		return ": " + n.Status.LastPlan.Detail
	}
	return ""
}

// checkNodeSecrets: the TLS Secret of every node is sound. One that is not stops its pod at the next restart.
func checkNodeSecrets(f *ClusterFacts) []Line {
	return eachNode(f, "the TLS Secret of every node is sound", func(n *v1alpha1.SeiNode) *Line {
		reason, message := f.secretTrouble(n)
		if reason == "" {
			return nil
		}
		text, hint := reason+": "+message, secretHint(n, reason)
		if n.Status.CurrentSidecarTLS == nil {
			return lineOf(warning(text+"; TLS does not run yet", hint))
		}
		return lineOf(failed(text+"; the proxy serves what it loaded until the pod restarts, then the node does not come back", hint))
	})
}

// secretTrouble is what is wrong with the Secret of a node: as it is now or, for whoever may not read it, as a driver saw it
// last. Empty when nothing is.
func (f *ClusterFacts) secretTrouble(n *v1alpha1.SeiNode) (reason, message string) {
	if v, judged := f.Verdicts[nodeName(n)]; judged && !v.Unknown {
		if v.Ready {
			return "", ""
		}
		return v.Reason, v.Message
	}
	c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
	if c == nil || c.Status == metav1.ConditionTrue {
		return "", ""
	}
	return c.Reason, c.Message
}

// runningTLS is the TLS whose Secret counts: what runs, else what is wanted; nil for none.
func runningTLS(n *v1alpha1.SeiNode) *v1alpha1.SidecarTLSConfig {
	if tls := n.Status.CurrentSidecarTLS.Config(); tls != nil {
		return tls
	}
	return n.SidecarTLS()
}

// secretHint is what makes a Secret sound again: cert-manager issues anew what is gone, others have to provision it.
func secretHint(n *v1alpha1.SeiNode, reason string) string {
	tls := runningTLS(n)
	name := resources.SecretName(n.Name, tls)
	gone := reason == v1alpha1.ReasonTLSSecretNotFound
	issued := tls == nil || tls.SecretName == ""
	remove := fmt.Sprintf("kubectl delete secret %s -n %s", name, n.Namespace)
	create := fmt.Sprintf("kubectl create secret tls %s -n %s --cert=tls.crt --key=tls.key", name, n.Namespace)
	switch {
	case issued && gone:
		return fmt.Sprintf("kubectl describe certificate %s -n %s", resources.CertificateName(n.Name), n.Namespace)
	case issued:
		return remove
	case gone:
		return create
	}
	return remove + " && " + create
}

// checkMarkReady: no Running node waits for mark-ready.
func checkMarkReady(f *ClusterFacts) []Line {
	return eachNode(f, "no node waits for mark-ready", func(n *v1alpha1.SeiNode) *Line {
		c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionSidecarReady)
		parked := c != nil && c.Status == metav1.ConditionFalse || f.parked(n)
		if n.Status.Phase != v1alpha1.PhaseRunning || !parked || n.Status.Plan.Active() {
			return nil
		}
		return lineOf(failed("its sidecar holds seid back until somebody drives it: mark-ready is due",
			fmt.Sprintf("seictl node apply %s -n %s --yes", n.Name, n.Namespace)))
	})
}

// parkedAfter is how long a pod may be up without its sidecar letting seid go, where nobody drives and no condition tells.
const parkedAfter = 20 * time.Second

// parked judges by the pod: without a driver nobody updates the status. The container whose readiness is the sidecar's
// health runs and is not Ready.
func (f *ClusterFacts) parked(n *v1alpha1.SeiNode) bool {
	for i := range f.Pods.Value {
		pod := &f.Pods.Value[i]
		if pod.Namespace != n.Namespace || pod.Labels[v1alpha1.LabelNode] != n.Name || pod.DeletionTimestamp != nil {
			continue
		}
		name := resources.ContainerSidecar
		if n.Status.CurrentSidecarTLS != nil {
			name = resources.ContainerProxy
		}
		for _, s := range pod.Status.InitContainerStatuses {
			if s.Name == name && s.State.Running != nil && !s.Ready && f.Now.Sub(s.State.Running.StartedAt.Time) > parkedAfter {
				return true
			}
		}
	}
	return false
}

// mostNodes is how many nodes a check tells one by one.
const mostNodes = 20

// eachNode says one line for every node that a check objects to, or one that all is well.
func eachNode(f *ClusterFacts, well string, check func(*v1alpha1.SeiNode) *Line) []Line {
	if f.Nodes.State != Found {
		return []Line{cannotTell("how the nodes are", f.Nodes.Err)}
	}
	var bad []Line
	more := 0
	for i := range f.Nodes.Value {
		n := &f.Nodes.Value[i]
		l := check(n)
		switch {
		case l == nil:
		case len(bad) == mostNodes:
			more++
		default:
			l.Message = nodeName(n) + ": " + l.Message
			bad = append(bad, *l)
		}
	}
	if more > 0 {
		bad = append(bad, failed(fmt.Sprintf("and %d more nodes", more), "seictl node status -A"))
	}
	if len(bad) == 0 && len(f.Nodes.Value) == 0 {
		return []Line{skipped("there are no nodes")}
	}
	return allOr(bad, well)
}

func lineOf(l Line) *Line { return &l }
