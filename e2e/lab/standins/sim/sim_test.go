package sim

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/e2e/lab/standins/kinds"
)

func TestAPodIsReadyOnceItWasMarkedReadyAndGoesWhenItIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.create(nodePod("a"))
	p := w.pod("parked", func(p *corev1.Pod) bool { return running(p, "seid") && running(p, "sei-sidecar") })
	require.Equal(t, corev1.PodRunning, p.Status.Phase)
	require.False(t, ready(p))
	require.Equal(t, "Completed", statusOf(p, "seid-init").State.Terminated.Reason)
	require.Equal(t, "lab.invalid/seid:v1", statusOf(p, "seid").Image)
	require.NotEmpty(t, statusOf(p, "seid").ImageID)
	require.False(t, *statusOf(p, "seid").Started, "seid waits behind its gate")
	refused(t, p.Status.PodIP, "26657")

	w.markReady(p.Status.PodIP)
	p = w.pod("Ready", ready)
	require.True(t, *statusOf(p, "seid").Started)
	conn, err := net.Dial("tcp", net.JoinHostPort(p.Status.PodIP, "26657"))
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	w.terminate(30)
	w.gone()
	refused(t, p.Status.PodIP, "26657")
	refused(t, p.Status.PodIP, "7777")
	require.Equal(t, 1, lines(t, w.volume, "stops.log"))

	w.create(nodePod("b"))
	next := w.pod("its successor is parked", func(p *corev1.Pod) bool { return p.UID == "b" && running(p, "seid") })
	require.NotEqual(t, p.Status.PodIP, next.Status.PodIP)
	require.False(t, ready(next), "readiness is forgotten")
}

func TestAMissingSecretHoldsThePodBackUntilItIsThere(t *testing.T) {
	w := newWorld(t)
	w.create(nodePod("a", withProxy))
	var event *corev1.Event
	require.Eventually(t, func() bool {
		list, err := w.client.CoreV1().Events("ns").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 {
			return false
		}
		event = &list.Items[0]
		return true
	}, patience, 5*time.Millisecond)
	require.Equal(t, "FailedMount", event.Reason)
	require.Contains(t, event.Message, `MountVolume.SetUp failed for volume "tls" : secret "tls" not found`)
	p := w.pod("pending", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodPending })
	require.Empty(t, p.Status.PodIP)
	require.NotNil(t, statusOf(p, "seid").State.Waiting)

	s, leaf := secret(t)
	_, err := w.client.CoreV1().Secrets("ns").Create(t.Context(), s, metav1.CreateOptions{})
	require.NoError(t, err)
	p = w.pod("parked", func(p *corev1.Pod) bool { return running(p, "seid") })
	require.Equal(t, leaf.Raw, served(t, p.Status.PodIP, leaf))
	refused(t, p.Status.PodIP, "7777")
}

func TestARenewedSecretIsServedAndADeletedOneStays(t *testing.T) {
	w := newWorld(t)
	first, leaf := secret(t)
	secrets := w.client.CoreV1().Secrets("ns")
	_, err := secrets.Create(t.Context(), first, metav1.CreateOptions{})
	require.NoError(t, err)
	w.create(nodePod("a", withProxy))
	p := w.pod("parked", func(p *corev1.Pod) bool { return running(p, "seid") })
	require.Equal(t, leaf.Raw, served(t, p.Status.PodIP, leaf))

	renewed, next := secret(t)
	_, err = secrets.Update(t.Context(), renewed, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return string(served(t, p.Status.PodIP, leaf, next)) == string(next.Raw)
	}, patience, 5*time.Millisecond)
	require.NoError(t, secrets.Delete(t.Context(), "tls", metav1.DeleteOptions{}))
	require.Equal(t, next.Raw, served(t, p.Status.PodIP, next))
}

func TestAnImageThatIsNotThereCannotBePulled(t *testing.T) {
	w := newWorld(t)
	w.create(nodePod("a", func(p *corev1.Pod) { p.Spec.InitContainers[1].Image = "lab.invalid/none:1" }))
	p := w.pod("waiting", func(p *corev1.Pod) bool {
		waiting := statusOf(p, "sei-sidecar").State.Waiting
		return waiting != nil && waiting.Reason == "ImagePullBackOff"
	})
	require.Equal(t, corev1.PodPending, p.Status.Phase)
	require.Contains(t, statusOf(p, "sei-sidecar").State.Waiting.Message, `Back-off pulling image "lab.invalid/none:1": ErrImagePull: `)
	require.Equal(t, "PodInitializing", statusOf(p, "seid").State.Waiting.Reason)
	w.terminate(30)
	w.gone()
}

func TestAContainerThatCrashesIsBackedOff(t *testing.T) {
	w := newWorld(t)
	w.fault("kube-rbac-proxy", kinds.CrashLoop, nil)
	s, _ := secret(t)
	_, err := w.client.CoreV1().Secrets("ns").Create(t.Context(), s, metav1.CreateOptions{})
	require.NoError(t, err)
	w.create(nodePod("a", withProxy))
	p := w.pod("backed off", func(p *corev1.Pod) bool {
		waiting := statusOf(p, "kube-rbac-proxy").State.Waiting
		return waiting != nil && waiting.Reason == "CrashLoopBackOff"
	})
	status := statusOf(p, "kube-rbac-proxy")
	require.EqualValues(t, 1, status.RestartCount, "the first restart comes at once")
	require.EqualValues(t, 1, status.LastTerminationState.Terminated.ExitCode)
	require.Equal(t, "PodInitializing", statusOf(p, "seid").State.Waiting.Reason, "a proxy that does not start stops seid")
	w.terminate(30)
	w.gone()
}

func TestASidecarThatRestartsForgetsThatItIsReady(t *testing.T) {
	w := newWorld(t)
	w.create(nodePod("a"))
	p := w.pod("parked", func(p *corev1.Pod) bool { return running(p, "seid") })
	w.markReady(p.Status.PodIP)
	p = w.pod("Ready", ready)
	id := statusOf(p, "sei-sidecar").ContainerID
	w.fault("sei-sidecar", kinds.Restart, nil)
	w.pod("not Ready", func(p *corev1.Pod) bool { return !ready(p) && statusOf(p, "sei-sidecar").RestartCount == 1 })
	p = w.pod("restarted", func(p *corev1.Pod) bool { return running(p, "sei-sidecar") })
	require.NotEqual(t, id, statusOf(p, "sei-sidecar").ContainerID)
	require.True(t, running(p, "seid"), "seid runs on")
	w.markReady(p.Status.PodIP)
	w.pod("Ready again", ready)
}

func TestASeidThatIsSlowToStopIsKilledWhenItsGraceIsOver(t *testing.T) {
	w := newWorld(t)
	w.create(nodePod("a"))
	p := w.pod("parked", func(p *corev1.Pod) bool { return running(p, "seid") })
	w.markReady(p.Status.PodIP)
	w.pod("Ready", ready)
	w.fault("seid", kinds.SlowStop, kinds.SlowStopParams{Seconds: 3600})
	begun := time.Now()
	w.terminate(1)
	w.gone()
	require.GreaterOrEqual(t, time.Since(begun), time.Second)
	require.Equal(t, 0, lines(t, w.volume, "stops.log"))
}

func TestASeidThatCatchesUpIsNotReady(t *testing.T) {
	w := newWorld(t)
	w.create(nodePod("a"))
	p := w.pod("parked", func(p *corev1.Pod) bool { return running(p, "seid") })
	w.fault("seid", kinds.CatchingUp, nil)
	w.markReady(p.Status.PodIP)
	p = w.pod("started", func(p *corev1.Pod) bool { s := statusOf(p, "seid"); return s.Started != nil && *s.Started })
	require.False(t, ready(p))
}

func TestSettingsSlowSeidDown(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Settings = Settings{Start: Duration(300 * time.Millisecond), Stop: Duration(500 * time.Millisecond)}
	})
	w.create(nodePod("a"))
	p := w.pod("parked", func(p *corev1.Pod) bool { return running(p, "seid") })
	begun := time.Now()
	w.markReady(p.Status.PodIP)
	w.pod("Ready", ready)
	require.GreaterOrEqual(t, time.Since(begun), 300*time.Millisecond)
	begun = time.Now()
	w.terminate(30)
	w.gone()
	require.GreaterOrEqual(t, time.Since(begun), 500*time.Millisecond)
}

// refused requires that nothing listens on a port.
func refused(t *testing.T, ip, port string) {
	t.Helper()
	_, err := net.Dial("tcp", net.JoinHostPort(ip, port))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// served is the leaf that a pod's proxy serves, to somebody who trusts these.
func served(t *testing.T, ip string, trusted ...*x509.Certificate) []byte {
	t.Helper()
	roots := x509.NewCertPool()
	for _, c := range trusted {
		roots.AddCert(c)
	}
	conn, err := tls.Dial("tcp", net.JoinHostPort(ip, "8443"), &tls.Config{RootCAs: roots, ServerName: "n", MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].Raw
}

// lines counts those of a log of seid.
func lines(t *testing.T, volume, name string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(volume, "data", name))
	if os.IsNotExist(err) {
		return 0
	}
	require.NoError(t, err)
	return strings.Count(string(data), "\n")
}
