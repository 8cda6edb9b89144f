//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// scrape gets /metrics of the operator with the token of a ServiceAccount of the scenario; without one for "".
func (s *S) scrape(account string) (code int, text string) {
	s.Helper()
	var pod corev1.Pod
	require.NoError(s, s.client.Get(s.Context(), types.NamespacedName{Namespace: operatorKey.Namespace, Name: s.operatorPod()}, &pod))
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+pod.Status.PodIP+":8443/metrics", nil)
	require.NoError(s, err)
	if account != "" {
		token, err := s.kube.CoreV1().ServiceAccounts(s.ns).CreateToken(s.Context(), account,
			&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		require.NoError(s, err)
		req.Header.Set("Authorization", "Bearer "+token.Status.Token)
	}
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.metricsTLS(req.URL.Host)}}
	resp, err := web.Do(req)
	require.NoError(s, err)
	defer func() { require.NoError(s, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(s, err)
	return resp.StatusCode, string(body)
}

// Where the CA of the operator's metrics is, and the name in their certificate: as the PodMonitor says.
const (
	metricsSecret     = "seictl-operator-metrics-tls"
	metricsServerName = "seictl-operator-metrics.sei-system.svc"
)

// metricsCA is the CA of the operator's metrics, in PEM.
func (s *S) metricsCA() []byte {
	s.Helper()
	var secret corev1.Secret
	require.NoError(s, s.client.Get(s.Context(), types.NamespacedName{Namespace: operatorKey.Namespace, Name: metricsSecret}, &secret))
	require.NotEmpty(s, secret.Data["ca.crt"])
	return secret.Data["ca.crt"]
}

// metricsTLS verifies the operator's metrics, once the kubelet has brought it its certificate.
func (s *S) metricsTLS(address string) *tls.Config {
	s.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: metricsServerName, MinVersion: tls.VersionTLS12}
	require.True(s, c.RootCAs.AppendCertsFromPEM(s.metricsCA()))
	dialer := &tls.Dialer{Config: c}
	s.eventually("the operator serves the certificate of its metrics", func() error {
		conn, err := dialer.DialContext(s.Context(), "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return c
}

// bind binds a ClusterRole to a ServiceAccount of the scenario.
func (s *S) bind(account, role string) {
	s.Helper()
	s.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.ns + "-" + account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: s.ns}},
	})
}

// someWrites waits for some status writes of the namespace's nodes, a random number of them.
func (s *S) someWrites(round int) {
	s.Helper()
	w, err := s.client.Watch(s.Context(), &v1alpha1.SeiNodeList{}, client.InNamespace(s.ns))
	require.NoError(s, err)
	defer w.Stop()
	var list v1alpha1.SeiNodeList
	require.NoError(s, s.client.List(s.Context(), &list, client.InNamespace(s.ns)))
	left := len(list.Items) + 1 + rand.IntN(12)
	s.eventually("round "+strconv.Itoa(round)+": the rollout goes on, or is done", func() error {
		for left > 0 {
			select {
			case <-w.ResultChan():
				left--
				continue
			default:
			}
			var d v1alpha1.SeiNodeDeployment
			if s.get("fleet", &d) == nil && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == d.Spec.Replicas {
				return nil
			}
			return errNotYet
		}
		return nil
	})
}

type notYet struct{}

func (notYet) Error() string { return "not yet" }

var errNotYet error = notYet{}

func number(s *S, variable string, otherwise int) int {
	s.Helper()
	v := strings.TrimSpace(os.Getenv(variable))
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	require.NoError(s, err, variable)
	return n
}
