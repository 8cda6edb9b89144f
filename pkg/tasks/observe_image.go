package tasks

import (
	"context"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskObserveImage,
		func(p *v1alpha1.TaskParams) *v1alpha1.ObserveImageParams { return p.ObserveImage }, observeImage)
}

// observeImage is done when the pod of the update revision carries the target image and its container runs, which takes
// the image to be pulled. It does not wait for Ready: until mark-ready seid is parked behind the start gate.
func observeImage(ctx context.Context, env *Env, in Input, p v1alpha1.ObserveImageParams) (Result, error) {
	w, err := readWorkload(ctx, env.Client, in.Node)
	if err != nil {
		return Result{}, err
	}
	pod, message := w.subject(in)
	if pod == nil {
		return Wait("%s", message), nil
	}
	spec, status := containerSpec(pod, resources.ContainerSeid), containerStatus(pod, resources.ContainerSeid)
	switch {
	case spec == nil:
		return Result{}, Terminalf("pod %s/%s has no container %s", pod.Namespace, pod.Name, resources.ContainerSeid)
	case spec.Image != p.Image:
		return Result{}, Terminalf("pod %s/%s is of the update revision and runs image %s, not %s: an admission webhook or "+
			"another controller changed it", pod.Namespace, pod.Name, spec.Image, p.Image)
	case status == nil || status.State.Running == nil || status.ImageID == "":
		return awaitPod(ctx, env, pod, "container %s of pod %s/%s does not run image %s yet",
			resources.ContainerSeid, pod.Namespace, pod.Name, p.Image), nil
	}
	return Completed(&v1alpha1.TaskOutput{PodUID: string(pod.UID)}), nil
}
