package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// publishers is how many statuses are written at a time.
const publishers = 16

func newQueue() workqueue.TypedRateLimitingInterface[*pod] {
	return workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[*pod](20*time.Millisecond, 2*time.Second))
}

// publishDelay is how long a change of a pod's status waits for others: a kubelet, too, writes what several containers did in
// a moment at once.
const publishDelay = 100 * time.Millisecond

// publish has the pod's status written, if it is another one than the API server has, with what changes meanwhile.
func (s *Simulator) publish(p *pod) { s.queue.AddAfter(p, publishDelay) }

// publishAll writes until the queue is shut down.
func (s *Simulator) publishAll(ctx context.Context) {
	for {
		p, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		if err := s.write(ctx, p); err != nil && ctx.Err() == nil {
			s.log.Warn("writing a pod's status", "pod", p.key(), "error", err)
			s.queue.AddRateLimited(p)
		} else {
			s.queue.Forget(p)
		}
		s.queue.Done(p)
	}
}

// write writes the pod's status; when nothing of the pod is left, it then removes the object.
func (s *Simulator) write(ctx context.Context, p *pod) error {
	p.mu.Lock()
	status, told, ended, gone := p.status(), p.told, p.ended, p.gone
	p.mu.Unlock()
	if gone {
		return nil
	}
	pods := s.client.CoreV1().Pods(p.obj.Namespace)
	if told == nil || !equality.Semantic.DeepEqual(*told, status) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.obj.UID}, "status": status})
		if err != nil {
			return fmt.Errorf("encoding the status: %w", err)
		}
		_, err = pods.Patch(ctx, p.obj.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			return nil // another pod has the name by now
		case err != nil:
			return fmt.Errorf("patching the status: %w", err)
		}
		p.mu.Lock()
		p.told = &status
		p.mu.Unlock()
	}
	if !ended {
		return nil
	}
	err := pods.Delete(ctx, p.obj.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &p.obj.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// nodeStatus is what a kubelet says of its node.
func nodeStatus(port int) corev1.NodeStatus {
	resources := corev1.ResourceList{
		corev1.ResourceCPU: quantity("10000"), corev1.ResourceMemory: quantity("10Ti"),
		corev1.ResourceEphemeralStorage: quantity("10Ti"), corev1.ResourcePods: quantity("10000"),
	}
	return corev1.NodeStatus{
		Capacity: resources, Allocatable: resources,
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: hostIP}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(port)}},
		NodeInfo:        corev1.NodeSystemInfo{OperatingSystem: "linux", KubeletVersion: "v1.36.3", OSImage: "labsim"},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the simulator runs",
			LastTransitionTime: metav1.Now(), LastHeartbeatTime: metav1.Now(),
		}},
	}
}
