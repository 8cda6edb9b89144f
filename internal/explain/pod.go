package explain

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// pod is the pod as a whole: whether it got a machine, its volumes, its images.
func (f *Facts) pod() *Link {
	p := f.Snapshot.Pod
	l := &Link{Object: "Pod " + f.Node.Namespace + "/" + resources.PodName(f.Node.Name), State: Waits}
	switch {
	case p == nil && f.Node.Status.Phase != v1alpha1.PhaseRunning && f.Snapshot.StatefulSet == nil:
		return nil
	case p == nil:
		l.Detail = "it does not exist"
		return l
	case p.DeletionTimestamp != nil:
		l.Detail = "it is Terminating while seid closes its databases; the kubelet ends it at " + stamp(p.DeletionTimestamp.Time)
		// The deletion timestamp is when the grace period ends.
		since := p.DeletionTimestamp.Time
		if s := p.DeletionGracePeriodSeconds; s != nil {
			since = since.Add(-time.Duration(*s) * time.Second)
		}
		l.cause = &Cause{Code: CodePodTerminating, Since: &since, next: []string{f.describePod()}}
		return l
	case f.Snapshot.PodReady():
		l.State, l.Detail = OK, "it is Ready"
		return l
	}
	l.Detail = "it is not Ready"
	if code, detail := podTrouble(p, f.Mount); code != "" {
		l.State, l.Detail = Broken, detail
		l.cause = &Cause{Code: code, Since: &p.CreationTimestamp.Time, next: []string{f.describePod()}}
	}
	return l
}

func (f *Facts) describePod() string {
	return fmt.Sprintf("kubectl describe pod %s -n %s", resources.PodName(f.Node.Name), f.Node.Namespace)
}

func podTrouble(p *corev1.Pod, mount string) (Code, string) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return CodePodUnschedulable, "it cannot be scheduled: " + c.Message
		}
	}
	for _, s := range statuses(p) {
		if s.State.Waiting == nil {
			continue
		}
		switch w := s.State.Waiting; w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return CodeImageUnpullable, fmt.Sprintf("image %s of container %s cannot be pulled%s", imageOf(p, s), s.Name, kubelet(w.Message))
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError":
			return CodeContainerCannotStart, fmt.Sprintf("container %s cannot start: %s%s", s.Name, w.Reason, kubelet(w.Message))
		}
	}
	if s := status(p, resources.ContainerSeidInit); crashing(s) {
		return CodeInitCrashLoop, "container " + s.Name + " " + crashText(s)
	}
	if mount != "" {
		return CodeMountFailed, mount
	}
	return "", ""
}

// imageOf is the image as the pod's spec names it: the status may hold another form, or none yet.
func imageOf(p *corev1.Pod, s *corev1.ContainerStatus) string {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Name == s.Name {
				return list[i].Image
			}
		}
	}
	return s.Image
}

var backOffPull = regexp.MustCompile(`^(Back-off pulling image "[^"]*"(: )?|ErrImagePull: )+`)

func kubelet(message string) string {
	if message = backOffPull.ReplaceAllString(message, ""); message == "" {
		return ""
	}
	return ": " + message
}

func statuses(p *corev1.Pod) []*corev1.ContainerStatus {
	var out []*corev1.ContainerStatus
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	return out
}

func status(p *corev1.Pod, name string) *corev1.ContainerStatus {
	if p == nil {
		return nil
	}
	for _, s := range statuses(p) {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// crashing says whether a container ended badly and has not come up since.
func crashing(s *corev1.ContainerStatus) bool {
	if s == nil || s.Ready || s.Started != nil && *s.Started {
		return false
	}
	if t := s.State.Terminated; t != nil {
		return t.ExitCode != 0
	}
	last := s.LastTerminationState.Terminated
	return last != nil && s.RestartCount > 0 && (last.ExitCode != 0 || s.State.Waiting != nil)
}

func crashText(s *corev1.ContainerStatus) string {
	t := s.State.Terminated
	if t == nil {
		t = s.LastTerminationState.Terminated
	}
	text := fmt.Sprintf("keeps failing: exit code %d (%s), restarts: %d", t.ExitCode, t.Reason, s.RestartCount)
	if t.Message != "" {
		text += ": " + strings.TrimSpace(t.Message)
	}
	return text
}

// container begins the link of a container; nil when the pod has none of that name, and done when nothing more is to say.
func (f *Facts) container(name string, code Code) (l *Link, done bool) {
	p := f.Snapshot.Pod
	s := status(p, name)
	if p == nil || p.DeletionTimestamp != nil || s == nil {
		return nil, true
	}
	l = &Link{Object: "container " + name, State: Waits}
	switch {
	case crashing(s):
		l.State, l.Detail = Broken, crashText(s)
		l.cause = &Cause{Code: code, Since: &p.CreationTimestamp.Time, next: []string{
			fmt.Sprintf("kubectl logs %s -n %s -c %s --previous", p.Name, p.Namespace, name), f.describePod()}}
		return l, true
	case s.State.Running == nil:
		l.Detail = "it does not run yet"
		return l, true
	}
	l.State, l.Detail = OK, "it runs"
	return l, false
}

// proxy is kube-rbac-proxy in front of the sidecar.
func (f *Facts) proxy() *Link {
	l, done := f.container(resources.ContainerProxy, CodeProxyCrashLoop)
	if done || !f.Wire.Asked {
		return l
	}
	fail := func(code Code, detail string, next ...string) {
		l.State, l.Detail, l.cause = Broken, detail, &Cause{Code: code, next: append(next, f.proxyLog())}
	}
	var leaf *sidecar.LeafMismatchError
	switch err := f.Wire.Err; {
	case errors.Is(err, sidecar.ErrNotTLS):
		fail(CodeProxyNotTLS, fmt.Sprintf("port %d does not speak TLS", resources.PortProxy))
	case errors.As(err, &leaf):
		fail(CodeProxyOtherLeaf, fmt.Sprintf("it serves certificate %s, the Secret holds %s: after a renewal it takes up to three minutes",
			short(leaf.Served), short(leaf.Wanted)), "seictl node verify "+f.on())
	case err != nil:
		fail(CodeProxyUnreachable, "the TLS handshake fails: "+err.Error())
	case f.Wire.Status == http.StatusUnauthorized:
		fail(CodeProxyUnauthorized, "an authenticated call is answered 401: the proxy may not review tokens, or does not pass the user on",
			fmt.Sprintf("seictl install base --apply --node-namespace %s", f.Node.Namespace))
	case f.Wire.Status == http.StatusForbidden:
		fail(CodeProxyForbidden, fmt.Sprintf("an authenticated call is answered 403: ServiceAccount %s/%s may not use the node's seinodetasks, "+
			"or the proxy may not ask (SubjectAccessReview)", settings.Namespace, sidecar.TokenServiceAccount),
			fmt.Sprintf("kubectl auth can-i get seinodetasks.sei.io/%s -n %s --as system:serviceaccount:%s:%s", f.Node.Name, f.Node.Namespace,
				settings.Namespace, sidecar.TokenServiceAccount), "seictl install base --apply --node-namespace "+f.Node.Namespace)
	case f.Wire.StatusErr != nil:
		l.State, l.Detail = Waits, "an authenticated call fails: "+f.Wire.StatusErr.Error()
	case f.Wire.Status == http.StatusOK:
		l.Detail = "it serves the Secret's certificate, and an authenticated call passes"
	}
	return l
}

func (f *Facts) proxyLog() string {
	return fmt.Sprintf("kubectl logs %s -n %s -c %s", resources.PodName(f.Node.Name), f.Node.Namespace, resources.ContainerProxy)
}

func short(fingerprint string) string {
	if len(fingerprint) > 16 {
		return fingerprint[:16]
	}
	return fingerprint
}

// sidecar is sei-sidecar.
func (f *Facts) sidecar() *Link {
	l, done := f.container(resources.ContainerSidecar, CodeSidecarCrashLoop)
	if done || !f.Wire.Asked || f.Wire.Err != nil && f.proxied() {
		return l
	}
	log := fmt.Sprintf("kubectl logs %s -n %s -c %s", resources.PodName(f.Node.Name), f.Node.Namespace, resources.ContainerSidecar)
	switch code := f.Wire.Health; {
	case f.Wire.Err != nil:
		l.State, l.Detail = Broken, "it does not answer: "+f.Wire.Err.Error()
		l.cause = &Cause{Code: CodeSidecarUnreachable, next: []string{log}}
	case code == http.StatusServiceUnavailable && f.beforeMarkReady():
		l.State, l.Detail = Waits, "it answers 503, as it should until mark-ready: seid is held back"
	case code == http.StatusServiceUnavailable:
		l.State, l.Detail = Broken, "it answers 503: it waits for mark-ready, or mark-ready does not take, and holds seid back"
		l.cause = &Cause{Code: CodeSidecarNotReady, next: []string{"seictl node apply " + f.on(), log}}
	case code == http.StatusOK:
		l.Detail = "it answers 200"
	case code != 0:
		l.State, l.Detail = Broken, fmt.Sprintf("it answers %d %s", code, http.StatusText(code))
		l.cause = &Cause{Code: CodeSidecarUnreachable, next: []string{log}}
	}
	return l
}

func (f *Facts) proxied() bool { return status(f.Snapshot.Pod, resources.ContainerProxy) != nil }

// beforeMarkReady says whether the active plan has its mark-ready still ahead of it.
func (f *Facts) beforeMarkReady() bool {
	t, i := f.task()
	if t == nil || t.Type == v1alpha1.TaskMarkReady {
		return false
	}
	p := f.Node.Status.Plan
	return p.Task(v1alpha1.TaskMarkReady) != nil && !plan.PointOfNoReturn(p) && (p.Kind == v1alpha1.NodeInit || !plan.BeforeTemplate(p, i))
}

// seid is the chain daemon.
func (f *Facts) seid() *Link {
	l, done := f.container(resources.ContainerSeid, CodeSeidCrashLoop)
	if done {
		return l
	}
	s := status(f.Snapshot.Pod, resources.ContainerSeid)
	switch {
	case s.Ready:
		l.Detail = "it has caught up with its chain"
		if f.RPC.Height != "" {
			l.Detail += " at height " + f.RPC.Height
		}
	case f.Wire.Health == http.StatusServiceUnavailable:
		l.State, l.Detail = Waits, "it waits behind its start gate until the sidecar says 200"
	case !f.RPC.Asked:
		l.State, l.Detail = Waits, "it is not Ready"
	case f.RPC.Err != nil:
		l.State, l.Detail = Waits, fmt.Sprintf("it does not answer on its RPC port %d yet: %s", resources.PortRPC, f.RPC.Err)
		l.cause = &Cause{Code: CodeSeidNotAnswering, Since: started(s), next: []string{f.seidLog()}}
	case f.RPC.CatchingUp:
		l.State, l.Detail = Waits, fmt.Sprintf("it has not caught up with its chain: RPC says catching_up, at height %s", f.RPC.Height)
		l.cause = &Cause{Code: CodeSeidCatchingUp, Since: started(s), next: []string{f.seidLog()}}
	default:
		l.State, l.Detail = Waits, "it has caught up at height "+f.RPC.Height+", and the kubelet has not seen that yet"
	}
	return l
}

func (f *Facts) seidLog() string {
	return fmt.Sprintf("kubectl logs %s -n %s -c %s -f", resources.PodName(f.Node.Name), f.Node.Namespace, resources.ContainerSeid)
}
