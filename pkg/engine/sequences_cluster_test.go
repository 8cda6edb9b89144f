package engine

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/sidecar"
	"sei.io/seictl/pkg/tasks"
)

// runTask is a task with its effects, unless a fault keeps it from them. Who waits for, deletes and looks at pods is the task
// itself; what is applied takes effect when a controller comes to it.
func (k *walk) runTask(ctx context.Context, env *tasks.Env, in tasks.Input) (tasks.Result, error) {
	switch k.faults[in.Task.Type] {
	case waits:
		return tasks.Wait("it takes its time"), nil
	case errs:
		return tasks.Result{}, errors.New("for now")
	case terminal:
		return tasks.Result{}, tasks.Terminalf("for good")
	}
	if in.Task.Type == v1alpha1.TaskReplacePod && !k.prompt && k.rand.IntN(3) == 0 {
		k.changeSecret() // since the gate of this very pass
	}
	k.task = &in
	defer func() { k.task = nil }()
	switch in.Task.Type {
	case v1alpha1.TaskWaitForSidecarTLSSecret, v1alpha1.TaskReplacePod, v1alpha1.TaskObserveImage, v1alpha1.TaskObserveSidecarTLS:
		k.ran = append(k.ran, in.Task.Type)
		return tasks.Run(ctx, env, in)
	case v1alpha1.TaskApplySidecarCert:
		k.ran = append(k.ran, in.Task.Type)
		return k.applyCertificate(resources.Certificate(resources.OwnerOf(in.Node), *in.Task.Params.SidecarCert)), nil
	case v1alpha1.TaskApplyStatefulSet:
		return k.applyTemplate(in.Task.Params.StatefulSet), nil
	case v1alpha1.TaskMarkReady:
		if pod := k.livePod(); pod == nil || len(pod.Status.InitContainerStatuses) == 0 {
			return tasks.Wait("the sidecar does not run"), nil
		}
		k.letGo()
	}
	return k.run(ctx, env, in)
}

// control is what controllers do between two passes; some of it, as they take their time.
func (k *walk) control() {
	k.t.Helper()
	for _, do := range []func(){k.issue, k.observeTemplate, k.createPod, func() { k.startPod(k.livePod()) }, k.reload} {
		if k.prompt || k.rand.IntN(3) > 0 {
			do()
		}
	}
}

// applyCertificate is what an apply makes of the Certificate.
func (k *walk) applyCertificate(want *cmv1.Certificate) tasks.Result {
	var cert cmv1.Certificate
	if k.client.Get(k.t.Context(), client.ObjectKeyFromObject(want), &cert) != nil {
		want.Generation = 1
		require.NoError(k.t, k.client.Create(k.t.Context(), want))
		return tasks.Completed(&v1alpha1.TaskOutput{Generation: 1})
	}
	if !equality.Semantic.DeepEqual(cert.Spec, want.Spec) {
		cert.Spec = want.Spec
		cert.Generation++
		require.NoError(k.t, k.client.Update(k.t.Context(), &cert))
	}
	return tasks.Completed(&v1alpha1.TaskOutput{Generation: cert.Generation})
}

// issue is what cert-manager does about the node's Certificate, if there is one: it has the Secret hold what it says.
func (k *walk) issue() {
	k.t.Helper()
	var cert cmv1.Certificate
	name := resources.CertificateName(key.Name)
	if k.issuerAway || k.client.Get(k.t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: name}, &cert) != nil {
		return
	}
	secret := k.secret(name)
	if secret == nil || secret.Annotations[cmv1.IssuerNameAnnotationKey] != cert.Spec.IssuerRef.Name || !leaf(k.t, secret).NotAfter.After(k.now) {
		k.tell("cert-manager issues for %s", cert.Spec.IssuerRef.Name)
		k.provide(name, pair(k.t, k.node(), issuerTLS(cert.Spec.IssuerRef.Name), k.now.Add(12*time.Hour)))
	}
	if c := cert.Status.Conditions; len(c) == 1 && c[0].ObservedGeneration == cert.Generation {
		return
	}
	cert.Status.Conditions = []cmv1.CertificateCondition{{
		Type: cmv1.CertificateConditionReady, Status: cmmeta.ConditionTrue, ObservedGeneration: cert.Generation,
	}}
	k.did++
	require.NoError(k.t, k.client.Update(k.t.Context(), &cert))
}

// provide writes a Secret.
func (k *walk) provide(name string, s *corev1.Secret) {
	k.t.Helper()
	k.did++
	s.Name = name
	if old := k.secret(name); old != nil {
		s.UID, s.ResourceVersion = old.UID, old.ResourceVersion
		require.NoError(k.t, k.client.Update(k.t.Context(), s))
		return
	}
	s.UID = types.UID(fmt.Sprintf("secret-%d", k.did))
	require.NoError(k.t, k.client.Create(k.t.Context(), s))
}

// changeSecret is what happens to the Secrets: they go, hold a certificate for somebody else, or another sound one.
func (k *walk) changeSecret() {
	name, tls := "own", secretTLS("own")
	if k.rand.IntN(3) == 0 {
		name = resources.CertificateName(key.Name)
	}
	other := k.node()
	switch what := k.rand.IntN(4); {
	case what == 0:
		k.tell("Secret %s is deleted", name)
		k.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: name}})
		return
	case name != "own":
		return // cert-manager's
	case what == 1:
		k.tell("Secret %s is somebody else's", name)
		other.Name = "n1"
	default:
		k.tell("Secret %s is renewed", name)
	}
	k.provide(name, pair(k.t, other, tls, k.now.Add(1000*time.Hour)))
}

// applyTemplate is what an apply makes of the StatefulSet.
func (k *walk) applyTemplate(p *v1alpha1.StatefulSetParams) tasks.Result {
	sts := k.statefulSet()
	was := sts.Spec.Template.DeepCopy()
	if p.FromRevision != "" {
		sts.Spec.Template = k.revisions[revisionIndex(p.FromRevision)]
	} else {
		sts.Spec.Template = resources.StatefulSet(resources.Owner{Namespace: key.Namespace, Name: key.Name}, *p.Template).Spec.Template
	}
	if !equality.Semantic.DeepEqual(*was, sts.Spec.Template) {
		sts.Generation++
		require.NoError(k.t, k.client.Update(k.t.Context(), sts))
	}
	return tasks.Completed(&v1alpha1.TaskOutput{Generation: sts.Generation})
}

// observeTemplate is what the StatefulSet controller does about a new template.
func (k *walk) observeTemplate() {
	sts := k.statefulSet()
	if sts.Status.ObservedGeneration == sts.Generation {
		return
	}
	i := 0
	for ; i < len(k.revisions) && !equality.Semantic.DeepEqual(k.revisions[i], sts.Spec.Template); i++ {
		continue
	}
	if i == len(k.revisions) {
		k.revisions = append(k.revisions, sts.Spec.Template)
	}
	sts.Status.UpdateRevision, sts.Status.ObservedGeneration = fmt.Sprintf("r%d", i+1), sts.Generation
	k.did++
	k.store(sts, sts.DeepCopy())
}

func revisionIndex(name string) int {
	i := 0
	_, _ = fmt.Sscanf(name, "r%d", &i)
	return i - 1
}

func (k *walk) removePod() {
	k.remove(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: resources.PodName(key.Name)}})
	k.proxy.loaded = nil
}

// createPod is what the StatefulSet controller does about a pod that is missing: it makes one of the template that it has seen.
func (k *walk) createPod() {
	if k.livePod() != nil {
		return
	}
	k.pods++
	k.did++
	revision := k.statefulSet().Status.UpdateRevision
	pod := k.template.DeepCopy()
	pod.UID, pod.ResourceVersion = types.UID(fmt.Sprintf("pod-%d", k.pods)), ""
	pod.Labels[appsv1.StatefulSetRevisionLabel] = revision
	pod.Spec = k.revisions[revisionIndex(revision)].Spec
	pod.Status = corev1.PodStatus{}
	require.NoError(k.t, k.client.Create(k.t.Context(), pod))
}

// startPod is what the kubelet does about a pod that does not run: it starts it once all is there that it mounts. The sidecar
// holds seid back.
func (k *walk) startPod(pod *corev1.Pod) {
	if pod == nil || len(pod.Status.ContainerStatuses) > 0 {
		return
	}
	name := mountedSecret(&pod.Spec)
	if name != "" && k.secret(name) == nil {
		return
	}
	now := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(k.now)}}
	status := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, ContainerID: "lab://" + string(pod.UID), ImageID: "sha256:0", State: now}
	}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
		ContainerStatuses:     []corev1.ContainerStatus{status(resources.ContainerSeid)},
		InitContainerStatuses: []corev1.ContainerStatus{status(resources.ContainerSidecar)},
	}
	if hasProxy(pod) {
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, status(resources.ContainerProxy))
	}
	k.did++
	k.store(pod, pod.DeepCopy())
	k.health = http.StatusServiceUnavailable
	k.reload()
}

// reload is what kubelet and proxy do about a Secret that changed.
func (k *walk) reload() {
	pod := k.livePod()
	if !hasProxy(pod) || len(pod.Status.ContainerStatuses) == 0 {
		return
	}
	if s := k.secret(mountedSecret(&pod.Spec)); s != nil {
		k.proxy.loaded = k.keyPair(s)
	}
}

func (k *walk) keyPair(s *corev1.Secret) *tls.Certificate {
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	require.NoError(k.t, err)
	return &pair
}

// letGo is what mark-ready does: seid starts, and the pod becomes Ready.
func (k *walk) letGo() {
	k.pod(func(p *corev1.Pod) {
		p.Status.Conditions[0].Status = corev1.ConditionTrue
		for i := range p.Status.InitContainerStatuses {
			p.Status.InitContainerStatuses[i].Ready = true
		}
	})
	k.health = http.StatusOK
}

// proxyState is the pod's proxy.
type proxyState struct {
	// loaded is the pair that it serves; nil while it does not listen.
	loaded *tls.Certificate
	fault  string
}

// Faults of the proxy.
const (
	wrongLeaf = "serves another leaf"
	noTLS     = "speaks no TLS"
)

type anyToken struct{}

func (anyToken) Token(context.Context) (string, error) { return "token", nil }

// DialPod connects to the pod's proxy, or to its sidecar.
func (k *walk) DialPod(_ context.Context, _, _, _ string, port int32) (net.Conn, error) {
	pod := k.livePod()
	proxied := hasProxy(pod)
	if pod == nil || len(pod.Status.ContainerStatuses) == 0 || proxied != (port == resources.PortProxy) {
		return nil, sidecar.ErrPortClosed
	}
	ours, theirs := net.Pipe()
	if !proxied || k.proxy.fault == noTLS {
		go k.answer(theirs)
		return ours, nil
	}
	serves := k.proxy.loaded
	if k.proxy.fault == wrongLeaf {
		serves = k.keyPair(pair(k.t, k.node(), secretTLS("other"), k.now.Add(time.Hour)))
	}
	k.presented = certs.Fingerprint(serves.Leaf)
	go k.answer(tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{*serves}, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS12}))
	return ours, nil
}

// answer serves one connection until its peer hangs up.
func (k *walk) answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	code := k.health
	for requests := bufio.NewReader(conn); ; {
		req, err := http.ReadRequest(requests)
		if err != nil {
			return
		}
		answer := code
		if req.URL.Path != "/v0/healthz" {
			answer = http.StatusOK
		}
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n", answer); err != nil {
			return
		}
	}
}
