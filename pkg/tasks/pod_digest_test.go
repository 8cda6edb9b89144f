package tasks

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestContainerTroubleSaysTheSameWhileItIsTheSame(t *testing.T) {
	crashed := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}}
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	for name, c := range map[string]struct {
		want   string
		states []corev1.ContainerStatus
	}{
		"image": {`cannot pull image x:1: rpc error: not found`, []corev1.ContainerStatus{
			{Image: "x:1", State: waiting("ErrImagePull", "rpc error: not found")},
			{Image: "x:1", State: waiting("ImagePullBackOff", `Back-off pulling image "x:1": ErrImagePull: rpc error: not found`)},
		}},
		"image without a detail": {`cannot pull image x:1`, []corev1.ContainerStatus{
			{Image: "x:1", State: waiting("ImagePullBackOff", `Back-off pulling image "x:1"`)},
		}},
		"crash loop": {`keeps failing: exit code 2 (Error); see its log with kubectl logs -c c`, []corev1.ContainerStatus{
			{Name: "c", State: crashed},
			{Name: "c", RestartCount: 1, LastTerminationState: crashed, State: waiting("CrashLoopBackOff", "back-off 10s restarting")},
			{Name: "c", RestartCount: 1, LastTerminationState: crashed, State: waiting("CrashLoopBackOff", "back-off 40s restarting")},
			{Name: "c", RestartCount: 2, LastTerminationState: crashed, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}},
		"config": {`cannot start: CreateContainerConfigError: configmap "x" not found`, []corev1.ContainerStatus{
			{State: waiting("CreateContainerConfigError", `configmap "x" not found`)},
		}},
		"nothing": {"", []corev1.ContainerStatus{
			{State: waiting("PodInitializing", "")},
			{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 0, Reason: "Completed"}}},
			{RestartCount: 3, Started: new(true), LastTerminationState: crashed, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}},
	} {
		for i, s := range c.states {
			require.Equal(t, c.want, containerTrouble(s), "%s %d", name, i)
		}
	}
}

func TestPodTrouble(t *testing.T) {
	require.Equal(t, "it cannot be scheduled: 0/3 nodes are available", podTrouble(&corev1.Pod{Status: corev1.PodStatus{
		Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}},
	}}))
	require.Equal(t, "it failed: Evicted: low on disk", podTrouble(&corev1.Pod{Status: corev1.PodStatus{
		Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on disk",
	}}))
	require.Empty(t, podTrouble(&corev1.Pod{}))
}

func TestDetailStripsTheBackOff(t *testing.T) {
	require.Equal(t, ": back-off restarting failed container=x", detail("back-off 5m0s restarting failed container=x"))
	require.Empty(t, detail(""))
}
