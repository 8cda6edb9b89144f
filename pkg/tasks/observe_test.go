package tasks

import (
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

func observeImageInput(image string) Input {
	return input(v1alpha1.TaskObserveImage, v1alpha1.TaskParams{ObserveImage: &v1alpha1.ObserveImageParams{Image: image}},
		applied(v1alpha1.TaskApplyStatefulSet, 2), applied(v1alpha1.TaskReplacePod, 0))
}

func waitingFor(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodPending
		p.Status.ContainerStatuses[0] = corev1.ContainerStatus{Name: "seid", Image: testImage, State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
}

func TestObserveImage(t *testing.T) {
	env := newEnv(t)
	for name, c := range map[string]struct {
		pod      *corev1.Pod
		image    string
		done     bool
		message  string
		terminal string
	}{
		"parked seid runs the image":    {pod: testPod(env, nil, "alpha-new", parked), image: testImage, done: true},
		"pod of the old revision":       {pod: testPod(env, nil, "alpha-old"), image: testImage, message: "is of revision alpha-old, not of alpha-new"},
		"another image in the template": {pod: testPod(env, nil, "alpha-new"), image: "seid:v9", terminal: "an admission webhook or another controller changed it"},
		"cannot pull": {pod: testPod(env, nil, "alpha-new", waitingFor("ImagePullBackOff", `Back-off pulling image "x": ErrImagePull: not found`)),
			image: testImage, message: "container seid cannot pull image " + testImage + ": not found"},
		"first pull failed": {pod: testPod(env, nil, "alpha-new", waitingFor("ErrImagePull", "not found")),
			image: testImage, message: "container seid cannot pull image " + testImage + ": not found"},
		"no pod": {image: testImage, message: "pod chain/alpha-0 does not exist yet"},
	} {
		t.Run(name, func(t *testing.T) {
			objs := []client.Object{testStatefulSet()}
			if c.pod != nil {
				objs = append(objs, c.pod)
			}
			r, err := Run(t.Context(), newEnv(t, objs...), observeImageInput(c.image))
			if c.terminal != "" {
				require.True(t, IsTerminal(err))
				require.ErrorContains(t, err, c.terminal)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.done, r.Phase == Done)
			require.Contains(t, r.Message, c.message)
		})
	}
}

func observeTLSInput(env *Env, tls *v1alpha1.SidecarTLSConfig) Input {
	p := &v1alpha1.ObserveSidecarTLSParams{}
	if tls != nil {
		secret := resources.TLSSecretParamsFor(testNode(), tls, env.Settings)
		p.TLSSecret = &secret
	}
	return input(v1alpha1.TaskObserveSidecarTLS, v1alpha1.TaskParams{ObserveSidecarTLS: p},
		applied(v1alpha1.TaskApplyStatefulSet, 2), applied(v1alpha1.TaskReplacePod, 0))
}

func TestObserveSidecarTLS(t *testing.T) {
	ca, otherCA := newAuthority(t, "ca"), newAuthority(t, "other")
	good, old, unnamed := ca.issue(t, testDNSNames...), ca.issue(t, testDNSNames...), ca.issue(t, "elsewhere")
	wrongCA := good
	wrongCA.ca = otherCA.issue(t, "x").ca
	for name, c := range map[string]struct {
		secret *corev1.Secret
		served tls.Certificate
		status int
		want   string
	}{
		"the Secret's leaf":         {secret: good.secret(issuerTLS), served: good.tls(t)},
		"the old leaf of the CA":    {good.secret(issuerTLS), old.tls(t), 200, "pod chain/alpha-0 serves certificate " + short(certs.Fingerprint(old.leaf(t)))},
		"self-signed":               {good.secret(issuerTLS), otherCA.issue(t, testDNSNames...).tls(t), 200, "kubelet and proxy take up to three minutes"},
		"leaf does not chain to CA": {wrongCA.secret(issuerTLS), good.tls(t), 200, "does not chain to ca.crt"},
		"Secret unsound":            {unnamed.secret(issuerTLS), unnamed.tls(t), 200, testDNSNames[0]},
		"401 behind the proxy":      {good.secret(issuerTLS), good.tls(t), 401, "answers 401"},
		"403 of the proxy":          {good.secret(issuerTLS), good.tls(t), 403, "answers 403"},
		"502 of the proxy":          {good.secret(issuerTLS), good.tls(t), 502, "answers 502: it does not reach the sidecar"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t)
			env = atWallTime(newEnv(t, testStatefulSet(), testPod(env, issuerTLS, "alpha-new", parked), c.secret))
			tlsSidecar(t, env, &fakeSidecar{statusCode: c.status}, c.served)
			r, err := Run(t.Context(), env, observeTLSInput(env, issuerTLS))
			if c.want != "" {
				requireWaits(t, r, err, c.want)
				require.Nil(t, r.Output)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Done, r.Phase)
			require.Equal(t, certs.Fingerprint(good.leaf(t)), r.Output.FingerprintSHA256)
			require.Equal(t, metav1.NewTime(good.leaf(t).NotAfter), *r.Output.NotAfter)
			require.Equal(t, "pod-uid", r.Output.PodUID)
		})
	}
}

func TestObserveSidecarTLSOfSomethingElse(t *testing.T) {
	good := newAuthority(t, "ca").issue(t, testDNSNames...)
	env := newEnv(t)
	objs := []client.Object{testStatefulSet(), testPod(env, issuerTLS, "alpha-new", parked), good.secret(issuerTLS)}

	env = atWallTime(newEnv(t, objs...))
	listener := plainListener(t, &fakeSidecar{})
	connect(env, ports{resources.PortProxy: listener})
	r, err := Run(t.Context(), env, observeTLSInput(env, issuerTLS))
	requireWaits(t, r, err, "port 8443 of pod chain/alpha-0 does not speak TLS")

	connect(env, ports{})
	r, err = Run(t.Context(), env, observeTLSInput(env, issuerTLS))
	requireWaits(t, r, err, "the TLS handshake with pod chain/alpha-0 fails")

	env = atWallTime(newEnv(t, testStatefulSet(), testPod(env, issuerTLS, "alpha-new", func(p *corev1.Pod) {
		s := containerStatus(p, resources.ContainerProxy)
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s restarting"}}
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}
		s.RestartCount = 4
	})))
	r, err = Run(t.Context(), env, observeTLSInput(env, issuerTLS))
	requireWaits(t, r, err, "container kube-rbac-proxy keeps failing: exit code 1 (Error); see its log with kubectl logs -c kube-rbac-proxy")
	require.NotContains(t, r.Message, "40s")
}

func TestObserveTLSOfAnIssuerSwapTakesThePodThatRuns(t *testing.T) {
	good := newAuthority(t, "ca").issue(t, testDNSNames...)
	env := newEnv(t)
	env = atWallTime(newEnv(t, testStatefulSet(), testPod(env, issuerTLS, "alpha-old"), good.secret(issuerTLS)))
	tlsSidecar(t, env, &fakeSidecar{}, good.tls(t))
	in := observeTLSInput(env, issuerTLS)
	in.Plan.Tasks = in.Plan.Tasks[2:] // no middle, no pod cycle
	in.Task = &in.Plan.Tasks[0]
	r, err := Run(t.Context(), env, in)
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase)
}

func TestObservePlain(t *testing.T) {
	env := newEnv(t)
	plain := testPod(env, nil, "alpha-new", parked)
	for name, c := range map[string]struct {
		pod      *corev1.Pod
		health   int
		proxy    bool
		done     bool
		message  string
		terminal string
	}{
		"503 before mark-ready": {pod: plain, done: true},
		"200":                   {pod: plain, health: http.StatusOK, done: true},
		"404":                   {pod: plain, health: http.StatusNotFound, message: "404"},
		"8443 still open":       {pod: plain, proxy: true, message: "something still listens on port 8443 of pod chain/alpha-0"},
		"proxy in the pod":      {pod: testPod(env, issuerTLS, "alpha-new"), terminal: "still has container kube-rbac-proxy"},
		"sidecar does not run": {pod: testPod(env, nil, "alpha-new", func(p *corev1.Pod) {
			containerStatus(p, resources.ContainerSidecar).State = corev1.ContainerState{}
		}), message: "container sei-sidecar of pod chain/alpha-0 does not run yet"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, testStatefulSet(), c.pod)
			address := plainListener(t, &fakeSidecar{health: c.health})
			p := ports{resources.PortSidecar: address}
			if c.proxy {
				p[resources.PortProxy] = address
			}
			connect(env, p)
			r, err := Run(t.Context(), env, observeTLSInput(env, nil))
			switch {
			case c.terminal != "":
				require.True(t, IsTerminal(err))
				require.ErrorContains(t, err, c.terminal)
			case c.message == "404":
				require.ErrorContains(t, err, "404")
			default:
				require.NoError(t, err)
				require.Equal(t, c.done, r.Phase == Done)
				require.Contains(t, r.Message, c.message)
			}
		})
	}
}

func TestPodThatCannotMountASecretSaysSo(t *testing.T) {
	env := newEnv(t)
	pod := testPod(env, issuerTLS, "alpha-new", func(p *corev1.Pod) {
		p.CreationTimestamp = metav1.NewTime(now.Add(-mountTime))
		p.Status.Phase, p.Spec.NodeName = corev1.PodPending, "machine-1"
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range list {
				list[i].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
			}
		}
	})
	event := func(name, reason, message string, at int) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name}, InvolvedObject: corev1.ObjectReference{UID: pod.UID},
			Reason: reason, Message: message, LastTimestamp: metav1.Unix(now.Unix()+int64(at), 0),
		}
	}
	env = newEnv(t, testStatefulSet(), pod,
		event("a", "FailedMount", `MountVolume.SetUp failed for volume "sidecar-tls" : secret "alpha-sidecar-tls" not found`, 1),
		event("b", "FailedMount", `Unable to attach or mount volumes: unmounted volumes=[sidecar-tls]`, 2),
		event("c", "Scheduled", `assigned`, 3))
	r, err := Run(t.Context(), env, observeTLSInput(env, issuerTLS))
	requireWaits(t, r, err, `container kube-rbac-proxy of pod chain/alpha-0 does not run yet: MountVolume.SetUp failed for volume `+
		`"sidecar-tls" : secret "alpha-sidecar-tls" not found`)
	require.Equal(t, eventPoll, r.RequeueAfter)
}

// plainListener serves plain HTTP and returns its address.
func plainListener(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: h}
	go server.Serve(l)
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}
