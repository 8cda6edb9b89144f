package engine

import (
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

// requireStamped requires that what a pass stamped was seen in it: TLS with a certificate that the proxy presented last, TLS
// off only where no proxy is left.
func (k *walk) requireStamped(before, after *v1alpha1.SeiNode) {
	k.t.Helper()
	was, is := before.Status.CurrentSidecarTLS, after.Status.CurrentSidecarTLS
	switch {
	case was == nil && is == nil:
	case is == nil:
		require.False(k.t, hasProxy(k.livePod()), "TLS is stamped as off, and the pod has a proxy")
	case was != nil && was.FingerprintSHA256 == is.FingerprintSHA256 && was.ObservedAt.Equal(is.ObservedAt) && was.Config().Equal(is.Config()):
	case was != nil && is.FingerprintSHA256 == "" && was.Config().Equal(is.Config()):
		// What was stamped is not served any more.
		require.NotEqual(k.t, was.FingerprintSHA256, k.presented)
	default:
		k.tell("stamped %s %.8s", is.Config(), is.FingerprintSHA256)
		require.NotEmpty(k.t, is.FingerprintSHA256, "%s is stamped without a certificate", is.Config())
		require.Equal(k.t, k.presented, is.FingerprintSHA256, "%s is stamped without a matching handshake", is.Config())
	}
}

// requireLatched requires of the plan that it is what it was when it was seen first.
func (k *walk) requireLatched(after *v1alpha1.SeiNode) {
	k.t.Helper()
	p := after.Status.Plan
	if p == nil {
		return
	}
	first, seen := k.latched[p.ID]
	if !seen {
		first = *p.DeepCopy()
		k.latched[p.ID] = first
		k.tell("plan %s %s to %v", p.Kind, p.ID[:8], p.Target)
	}
	require.Equal(k.t, first.Target, p.Target, "the target of plan %s is latched", p.ID)
	require.Equal(k.t, first.Previous, p.Previous, "what plan %s returns to is latched", p.ID)
}

// requireGate requires, at the moment of a delete, all that must hold before a plan takes a pod away.
func (k *walk) requireGate(pod *corev1.Pod, uid string) {
	k.t.Helper()
	in := k.task
	require.NotNil(k.t, in, "a pod is deleted outside of any task")
	require.Equal(k.t, v1alpha1.TaskReplacePod, in.Task.Type)
	k.tell("plan %s deletes pod %s", in.Plan.ID[:8], pod.UID)
	k.deletes[in.Plan.ID]++
	require.Equal(k.t, 1, k.deletes[in.Plan.ID], "plan %s deletes a second pod", in.Plan.ID)
	require.Contains(k.t, k.latched, in.Plan.ID, "a plan is written before its first task runs")
	for i := range in.Plan.Tasks {
		if t := &in.Plan.Tasks[i]; t.Type != v1alpha1.TaskReplacePod {
			require.Equal(k.t, v1alpha1.TaskComplete, t.Status, "%s comes before the delete", t.Type)
			continue
		}
		break
	}

	sts := k.statefulSet()
	require.True(k.t, metav1.IsControlledBy(sts, in.Node))
	require.True(k.t, metav1.IsControlledBy(pod, sts))
	require.EqualValues(k.t, 1, *sts.Spec.Replicas)
	require.Nil(k.t, pod.DeletionTimestamp)
	require.Equal(k.t, string(pod.UID), uid, "the delete names the pod that it is about")
	require.GreaterOrEqual(k.t, sts.Status.ObservedGeneration, sts.Generation, "a pod is deleted whose successor may be of another template")
	require.GreaterOrEqual(k.t, sts.Status.ObservedGeneration, in.Plan.Task(v1alpha1.TaskApplyStatefulSet).Output.Generation)
	require.NotEmpty(k.t, sts.Status.UpdateRevision)
	require.NotEqual(k.t, sts.Status.UpdateRevision, pod.Labels[appsv1.StatefulSetRevisionLabel], "a pod is deleted that is of the template")

	tls := in.Plan.Target.SidecarTLS
	mounted := mountedSecret(&sts.Spec.Template.Spec)
	require.Equal(k.t, resources.SecretName(key.Name, tls), mounted, "the template is the target's")
	if tls == nil {
		return
	}
	want := certs.Want{Namespace: key.Namespace, SecretName: mounted, TLS: *tls, AnySoundPair: in.Plan.Kind == v1alpha1.NodeRollback,
		DNSNames: certs.RequiredDNSNames(key.Name, key.Namespace, k.settings.ClusterDomain)}
	verdict := certs.Judge(k.secret(mounted), want, time.Now())
	require.True(k.t, verdict.Ready, "a pod is deleted whose successor cannot serve: %s", verdict.Message)
}

// planEnded checks what must hold when a plan ends.
func (k *walk) planEnded(_ *v1alpha1.SeiNode, p *v1alpha1.Plan, outcome v1alpha1.PlanPhase) {
	k.tell("plan %s %s %s %s", p.Kind, p.ID[:8], outcome, p.FailedTaskDetail)
	if p.Kind == v1alpha1.NodeRollback && outcome == v1alpha1.PlanComplete {
		sts := k.statefulSet()
		require.Equal(k.t, p.Previous.ControllerRevision, sts.Status.UpdateRevision, "after a rollback the live template is the previous one")
		require.Equal(k.t, k.revisions[revisionIndex(p.Previous.ControllerRevision)], sts.Spec.Template)
	}
}

// secret is a Secret as the API server has it; nil without one.
func (k *walk) secret(name string) *corev1.Secret {
	k.t.Helper()
	var s corev1.Secret
	if err := k.client.Get(k.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: name}, &s); err != nil {
		require.NoError(k.t, client.IgnoreNotFound(err))
		return nil
	}
	return &s
}

func mountedSecret(spec *corev1.PodSpec) string {
	for i := range spec.Volumes {
		if s := spec.Volumes[i].Secret; s != nil {
			return s.SecretName
		}
	}
	return ""
}

func hasProxy(pod *corev1.Pod) bool {
	if pod == nil {
		return false
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == resources.ContainerProxy {
			return true
		}
	}
	return false
}
