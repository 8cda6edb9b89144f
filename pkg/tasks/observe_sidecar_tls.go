package tasks

import (
	"context"
	"errors"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
)

func init() {
	register(v1alpha1.TaskObserveSidecarTLS,
		func(p *v1alpha1.TaskParams) *v1alpha1.ObserveSidecarTLSParams { return p.ObserveSidecarTLS }, observeSidecarTLS)
}

const (
	// servedPoll is how often to look what is served: no watch can tell when the proxy has reloaded.
	servedPoll = time.Second
	// freshPoll is servedPoll for a container that began a moment ago and is about to listen.
	freshPoll = 100 * time.Millisecond
	// freshTime is how long a container counts as begun a moment ago.
	freshTime = 5 * time.Second
)

// observeSidecarTLS is done when what the plan wants is seen on the wire. An open port proves nothing: the proxy serves a
// self-signed certificate when it has no files, and the old one for minutes after a swap.
func observeSidecarTLS(ctx context.Context, env *Env, in Input, p v1alpha1.ObserveSidecarTLSParams) (Result, error) {
	w, err := readWorkload(ctx, env.Client, in.Node)
	if err != nil {
		return Result{}, err
	}
	pod, message := w.subject(in)
	if pod == nil {
		return Wait("%s", message), nil
	}
	if p.TLSSecret == nil {
		return observePlain(ctx, env, pod)
	}
	if !isRunning(pod, resources.ContainerProxy) {
		return awaitPod(ctx, env, pod, "container %s of pod %s/%s does not run yet",
			resources.ContainerProxy, pod.Namespace, pod.Name), nil
	}
	return observeServed(ctx, env, in, *p.TLSSecret, pod)
}

// observeServed proves that the pod serves the Secret's leaf and that an authenticated call gets through.
func observeServed(ctx context.Context, env *Env, in Input, p v1alpha1.TLSSecretParams, pod *corev1.Pod) (Result, error) {
	// What the pod serves is compared with the version of the Secret that is known; a newer one is found served later.
	verdict, err := judgedSecret(ctx, env, in, p)
	if err != nil {
		return Result{}, err
	}
	if !verdict.Ready {
		return Wait("%s", verdict.Message), nil
	}
	if len(p.DNSNames) == 0 {
		return Result{}, Terminalf("task %s of plan %s names no DNS name to verify", in.Task.Type, in.Plan.ID)
	}
	target := podTarget(pod, resources.PortProxy)
	target.TLS = &sidecar.TLSTarget{ServerName: p.DNSNames[0], Leaf: verdict.Leaf, CAs: verdict.CAs}
	leaf, err := env.Sidecar.Handshake(ctx, target)
	if err != nil {
		return notServed(ctx, env, pod, err)
	}
	client := env.Sidecar.Open(target)
	defer client.Close()
	switch code, err := client.Status(ctx); {
	case err != nil:
		return sidecarTrouble(env, pod, err)
	case code != http.StatusOK:
		return sidecarTrouble(env, pod, &sidecar.StatusError{Code: code, Method: http.MethodGet, Path: "/v0/status"})
	}
	notAfter := metav1.NewTime(leaf.NotAfter)
	return Completed(&v1alpha1.TaskOutput{
		PodUID:            string(pod.UID),
		FingerprintSHA256: certs.Fingerprint(leaf),
		NotAfter:          &notAfter,
	}), nil
}

// notServed says what is served instead of the Secret's leaf.
func notServed(ctx context.Context, env *Env, pod *corev1.Pod, err error) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, err
	}
	name := pod.Namespace + "/" + pod.Name
	poll := wirePoll(env, pod, resources.ContainerProxy)
	if m, ok := errors.AsType[*sidecar.LeafMismatchError](err); ok {
		return WaitPolling(poll, "pod %s serves certificate %s, the Secret holds %s: kubelet and proxy take up to three minutes "+
			"to pick up a new one", name, short(m.Served), short(m.Wanted)), nil
	}
	if errors.Is(err, sidecar.ErrNotTLS) {
		return WaitPolling(poll, "port %d of pod %s does not speak TLS", resources.PortProxy, name), nil
	}
	r := awaitPod(ctx, env, pod, "the TLS handshake with pod %s fails: %s", name, stable(err))
	r.RequeueAfter = poll
	return r, nil
}

// observePlain proves that TLS is off: plain HTTP answers where it should, and nothing listens where the proxy did.
func observePlain(ctx context.Context, env *Env, pod *corev1.Pod) (Result, error) {
	name := pod.Namespace + "/" + pod.Name
	if containerSpec(pod, resources.ContainerProxy) != nil {
		return Result{}, Terminalf("pod %s is of the update revision and still has container %s: another manager keeps it in "+
			"the template; have that manager give it up", name, resources.ContainerProxy)
	}
	if !isRunning(pod, resources.ContainerSidecar) {
		return awaitPod(ctx, env, pod, "container %s of pod %s does not run yet", resources.ContainerSidecar, name), nil
	}
	poll := wirePoll(env, pod, resources.ContainerSidecar)
	open, err := env.Sidecar.PortOpen(ctx, podTarget(pod, resources.PortProxy))
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case err != nil:
		return WaitPolling(poll, "whether port %d of pod %s is closed is not known: %s", resources.PortProxy, name, stable(err)), nil
	case open:
		return WaitPolling(poll, "something still listens on port %d of pod %s", resources.PortProxy, name), nil
	}
	client := env.Sidecar.Open(podTarget(pod, resources.SidecarPortOf(&pod.Spec)))
	defer client.Close()
	switch code, err := client.Healthz(ctx); {
	case err != nil:
		return sidecarTrouble(env, pod, err)
	case code != http.StatusOK && code != http.StatusServiceUnavailable:
		return sidecarTrouble(env, pod, &sidecar.StatusError{Code: code, Method: http.MethodGet, Path: "/v0/healthz"})
	}
	return Completed(&v1alpha1.TaskOutput{PodUID: string(pod.UID)}), nil
}

// short is enough of a fingerprint to tell it from another, as openssl and browsers begin it.
func short(fingerprint string) string {
	if len(fingerprint) > 16 {
		return fingerprint[:16]
	}
	return fingerprint
}
