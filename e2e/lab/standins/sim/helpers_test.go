package sim

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"sei.io/seictl/e2e/lab/faults"
	"sei.io/seictl/e2e/lab/internal/faultreg"
)

const patience = 20 * time.Second

// world is a simulator at work on an API server of fakes.
type world struct {
	*testing.T
	sim    *Simulator
	client *fake.Clientset
	faults string
	volume string
}

// testNetwork keeps these tests apart from a lab, and from others that run at the same time.
func testNetwork() byte { return byte(100 + os.Getpid()%150) }

// newWorld has one claim, "data", and one node.
func newWorld(t *testing.T, more ...func(*Options)) *world {
	t.Helper()
	registry, err := faultreg.Open(filepath.Join(t.TempDir(), "faults.json"))
	require.NoError(t, err)
	server := httptest.NewServer(registry.Handler())
	t.Cleanup(server.Close)
	w := &world{T: t, volume: t.TempDir(), faults: server.URL, client: fake.NewClientset()}
	o := Options{Faults: registry, Nodes: 1, Network: testNetwork(), Log: slog.New(slog.DiscardHandler)}
	for _, change := range more {
		change(&o)
	}
	w.sim = simulator(o, &rest.Config{Host: "http://127.0.0.1:1"}, w.client)
	ctx := t.Context()
	_, err = w.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: w.volume},
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = w.client.CoreV1().PersistentVolumeClaims("ns").Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "ns", UID: "claim"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	ended := make(chan error, 1)
	runCtx, stop := context.WithCancel(context.Background())
	go func() { ended <- w.sim.Run(runCtx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, w.sim.synced.Load, patience, time.Millisecond)
	return w
}

// nodePod is a pod as seictl renders it, as far as the simulator looks.
func nodePod(uid types.UID, edits ...func(*corev1.Pod)) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	data := []corev1.VolumeMount{{Name: "data", MountPath: "/sei"}}
	env := []corev1.EnvVar{{Name: "HOME", Value: "/sei"}, {Name: "SEI_CHAIN_ID", Value: "c"}, {Name: "SEI_NODE_NAME", Value: "n"}, {Name: "SEI_SIDECAR_PORT", Value: "7777"}}
	get := func(path string) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(7777), Scheme: corev1.URISchemeHTTP},
		}}
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "n-0", Namespace: "ns", UID: uid},
		Spec: corev1.PodSpec{
			NodeName: "sim-0",
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
			}}},
			InitContainers: []corev1.Container{
				{Name: "seid-init", Image: "lab.invalid/seid:v1", Command: []string{"bash", "-c", "seid init"}, Env: env, VolumeMounts: data},
				{Name: "sei-sidecar", Image: "lab.invalid/sei-sidecar:v1", RestartPolicy: &always, Env: env, VolumeMounts: data,
					LivenessProbe: get("/v0/livez"), ReadinessProbe: get("/v0/healthz")},
			},
			Containers: []corev1.Container{{
				Name: "seid", Image: "lab.invalid/seid:v1", Command: []string{"bash", "-c", "exec seid start"}, Env: env, VolumeMounts: data,
				StartupProbe: &corev1.Probe{FailureThreshold: 1 << 30, ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(26657)},
				}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}},
			}},
		},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// withProxy adds the proxy, and has the sidecar listen to it alone.
func withProxy(p *corev1.Pod) {
	always := corev1.ContainerRestartPolicyAlways
	sidecar := &p.Spec.InitContainers[1]
	sidecar.LivenessProbe, sidecar.ReadinessProbe = nil, nil
	sidecar.Env = append(sidecar.Env, corev1.EnvVar{Name: "SEI_SIDECAR_AUTHN_MODE", Value: "trusted-header"})
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "tls", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: "tls"},
	}})
	p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{
		Name: "kube-rbac-proxy", Image: "lab.invalid/kube-rbac-proxy:v0.21.0", RestartPolicy: &always,
		Args: []string{
			"--secure-listen-address=0.0.0.0:8443", "--upstream=http://127.0.0.1:7777/", "--ignore-paths=/v0/livez,/v0/healthz",
			"--tls-cert-file=/tls/tls.crt", "--tls-private-key-file=/tls/tls.key",
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "tls", MountPath: "/tls"}},
		StartupProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 60, ProbeHandler: corev1.ProbeHandler{
			TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8443)},
		}},
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/v0/healthz", Port: intstr.FromInt32(8443), Scheme: corev1.URISchemeHTTPS},
		}},
	})
}

func (w *world) create(p *corev1.Pod) {
	w.Helper()
	_, err := w.client.CoreV1().Pods("ns").Create(w.Context(), p, metav1.CreateOptions{})
	require.NoError(w, err)
}

// pod waits for the pod to be as check wants it.
func (w *world) pod(what string, check func(*corev1.Pod) bool) *corev1.Pod {
	w.Helper()
	var p *corev1.Pod
	require.Eventually(w, func() bool {
		var err error
		p, err = w.client.CoreV1().Pods("ns").Get(w.Context(), "n-0", metav1.GetOptions{})
		return err == nil && check(p)
	}, patience, 5*time.Millisecond, what)
	return p
}

// terminate deletes the pod as the API server does for a kubelet to see: fakes know no grace.
func (w *world) terminate(grace int64) {
	w.Helper()
	p, err := w.client.CoreV1().Pods("ns").Get(w.Context(), "n-0", metav1.GetOptions{})
	require.NoError(w, err)
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: time.Now()}, &grace
	_, err = w.client.CoreV1().Pods("ns").Update(w.Context(), p, metav1.UpdateOptions{})
	require.NoError(w, err)
}

// gone waits until the pod is gone.
func (w *world) gone() {
	w.Helper()
	require.Eventually(w, func() bool {
		list, err := w.client.CoreV1().Pods("ns").List(w.Context(), metav1.ListOptions{})
		return err == nil && len(list.Items) == 0
	}, patience, 5*time.Millisecond)
}

// markReady tells the sidecar of a pod without TLS, once it listens: a container that runs may be about to.
func (w *world) markReady(ip string) {
	w.Helper()
	body, err := json.Marshal(map[string]any{"type": "mark-ready"})
	require.NoError(w, err)
	code := 0
	require.Eventually(w, func() bool {
		req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, "http://"+ip+":7777/v0/tasks", bytes.NewReader(body))
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		code = resp.StatusCode
		return true
	}, patience, 5*time.Millisecond, "the sidecar listens")
	require.Equal(w, http.StatusCreated, code)
}

// fault sets a fault of a container of the pod.
func (w *world) fault(container, kind string, params any) {
	w.Helper()
	c := &faults.Client{URL: w.faults, Namespace: "ns", Pod: "n-0", Container: container}
	_, err := c.Set(w.Context(), kind, params)
	require.NoError(w, err)
}

// secret is a TLS Secret with a new pair, and its certificate.
func secret(t *testing.T) (*corev1.Secret, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"n"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "tls", Namespace: "ns", ResourceVersion: fmt.Sprint(template.SerialNumber)},
		Data: map[string][]byte{
			"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			"tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		},
	}, leaf
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// statusOf is the status of a container.
func statusOf(p *corev1.Pod, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	return corev1.ContainerStatus{}
}

func running(p *corev1.Pod, name string) bool { return statusOf(p, name).State.Running != nil }
