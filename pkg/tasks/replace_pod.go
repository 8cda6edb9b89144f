package tasks

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskReplacePod,
		func(p *v1alpha1.TaskParams) *v1alpha1.ReplacePodParams { return p.ReplacePod }, replacePod)
}

const (
	// stuckAfter is how long past its grace period a pod may be Terminating before it is called stuck.
	stuckAfter = time.Minute
	// successorPoll is how often to ask why there is no successor: the reason is an event, and nobody watches those.
	successorPoll = 10 * time.Second
	// retryPoll is how soon to look again after somebody else replaced the pod under our hands.
	retryPoll = time.Second
)

// replacePod deletes a pod of another revision than the StatefulSet's update revision, and is done once the pod is of that
// revision. A node's pod is deleted at most once per pod that is old, whoever crashes in between: the decision is made on
// the live objects, and the delete names the UID.
func replacePod(ctx context.Context, env *Env, in Input, p v1alpha1.ReplacePodParams) (Result, error) {
	// The cache may decide that there is nothing to do yet, as it will wake us when that changes, and that all is done, as the
	// observers judge that pod themselves. Anything else is decided on the live objects.
	cached, err := readWorkload(ctx, env.Client, in.Node)
	if err != nil {
		return Result{}, err
	}
	switch d := decide(env, in, cached); d.verb {
	case podIsNew:
		return d.result, nil
	case waitForPod:
		left := successorPoll
		if t := in.Task.StartedAt; t != nil {
			left -= env.Now().Sub(t.Time)
		}
		if cached.pod == nil && left > 0 {
			d.result.RequeueAfter = left
		}
		if cached.pod != nil || left > 0 {
			return d.result, nil
		}
	}
	live, err := readWorkload(ctx, env.Live, in.Node)
	if err != nil {
		return Result{}, err
	}
	switch d := decide(env, in, live); d.verb {
	case refusePod:
		return Result{}, d.err
	case deletePod:
		return deleteOldPod(ctx, env, in, p, live.pod)
	default:
		if live.pod == nil {
			return explainAbsence(ctx, env, live, d.result), nil
		}
		return d.result, nil
	}
}

type podVerb int

const (
	waitForPod podVerb = iota
	podIsNew
	deletePod
	refusePod
)

// decision is what to do about a pod.
type decision struct {
	verb   podVerb
	result Result // waitForPod, podIsNew
	err    error  // refusePod
}

// decide looks at StatefulSet and pod and nothing else.
func decide(env *Env, in Input, w workload) decision {
	sts, pod := w.sts, w.pod
	stsName, podName := in.Node.Namespace+"/"+in.Node.Name, in.Node.Namespace+"/"+resources.PodName(in.Node.Name)
	switch {
	case sts == nil:
		return refuse("StatefulSet %s was deleted after it was applied", stsName)
	case !metav1.IsControlledBy(sts, in.Node):
		return refuse("StatefulSet %s is not this node's (%s): its pod is not ours to delete", stsName, ownerOf(sts))
	case sts.Spec.Replicas != nil && *sts.Spec.Replicas != 1:
		return refuse("StatefulSet %s has %d replicas and must have exactly 1: somebody scaled it, "+
			"and another pod on the same volume or key is a disaster", stsName, *sts.Spec.Replicas)
	}
	revision, message := w.settledRevision(in.Node, appliedGeneration(in.Plan))
	switch {
	case message != "":
		return decision{result: Wait("%s", message)}
	case pod == nil:
		return decision{result: Wait("waiting for the StatefulSet controller to create pod %s", podName)}
	case pod.DeletionTimestamp != nil:
		return decision{result: terminating(env, pod)}
	case !metav1.IsControlledBy(pod, sts):
		return refuse("pod %s is not of StatefulSet %s (%s): it is not ours to delete", podName, stsName, ownerOf(pod))
	case podRevision(pod) == revision:
		return decision{verb: podIsNew, result: Completed(&v1alpha1.TaskOutput{PodUID: string(pod.UID)})}
	}
	return decision{verb: deletePod}
}

func refuse(format string, args ...any) decision {
	return decision{verb: refusePod, err: Terminalf(format, args...)}
}

// deleteOldPod is the one irreversible step before mark-ready. The Secret that the new template mounts may have gone or
// expired since the gate, and a pod that cannot come back is worse than an old one, so it is judged once more.
func deleteOldPod(ctx context.Context, env *Env, in Input, p v1alpha1.ReplacePodParams, pod *corev1.Pod) (Result, error) {
	if p.TLSSecret != nil {
		verdict, err := judgeSecret(ctx, env, in, *p.TLSSecret)
		if err != nil {
			return Result{}, fmt.Errorf("keeping pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		if !verdict.Ready {
			return Wait("keeping pod %s/%s, as its successor could not start: %s", pod.Namespace, pod.Name, verdict.Message), nil
		}
	}
	env.hit("before-delete", in)
	err := env.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	env.hit("deleted", in)
	switch {
	case apierrors.IsConflict(err):
		return WaitPolling(retryPoll, "pod %s/%s was replaced by somebody else", pod.Namespace, pod.Name), nil
	case client.IgnoreNotFound(err) != nil:
		return Result{}, fmt.Errorf("deleting pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	r := Wait("pod %s/%s is being replaced", pod.Namespace, pod.Name)
	r.Output = &v1alpha1.TaskOutput{PodUID: string(pod.UID)}
	return r, nil
}

// terminating says since when a pod terminates. It is of no revision any more, and is never deleted by force: two seid on
// one validator key are a slashable double sign.
func terminating(env *Env, pod *corev1.Pod) Result {
	var grace time.Duration
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	due := pod.DeletionTimestamp.Time // the end of the grace period
	message := fmt.Sprintf("pod %s/%s is Terminating since %s; grace period %d s",
		pod.Namespace, pod.Name, due.Add(-grace).UTC().Format(time.RFC3339), int64(grace.Seconds()))
	left := due.Add(stuckAfter).Sub(env.Now())
	if left > 0 {
		return WaitPolling(left, "%s", message) // nothing happens at that time that a watch could see
	}
	message += fmt.Sprintf(". It is stuck on machine %q", pod.Spec.NodeName)
	if len(pod.Finalizers) > 0 {
		message += ", finalizers " + strings.Join(pod.Finalizers, ", ")
	}
	return Wait("%s: see whether the machine and its kubelet are alive. It is not deleted by force, as seid may still run", message)
}

// explainAbsence adds why the controller creates no pod, in its own words: a missing ServiceAccount, a quota, a webhook.
func explainAbsence(ctx context.Context, env *Env, w workload, r Result) Result {
	if w.sts == nil {
		return r
	}
	r.RequeueAfter = successorPoll
	if said := lastEvent(ctx, env, w.sts, "FailedCreate"); said != "" {
		r.Message += ": " + said
	}
	return r
}
