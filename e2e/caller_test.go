//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// reachedByName has a Deployment call the sidecar before TLS, with TLS, and after it.
func reachedByName(s *S) {
	n := s.running()
	plain := "http://" + n.names()[0] + ":7777/v0/status"
	var secure []string
	for _, name := range n.names() {
		secure = append(secure, "https://"+name+":8443/v0/status")
	}
	// Neither a name that is not there nor one of the world outside of the cluster.
	unknown := []string{"https://no-" + n.names()[0] + ":8443/", "http://example.com/"}
	c := n.caller(s.rootOf(issuerA), append(append(unknown, plain), secure...)...)

	c.gets(200, plain)
	c.fails("connection refused", secure...)
	c.fails("no such host", unknown...)

	n.cycles(1, func() { n.apply("--tls", "--issuer", issuerA).exits(done) })
	n.requireTLS("ClusterIssuer/" + issuerA)
	// It is known by its token, but may not call yet. The proxy believes a no for half a minute.
	c.gets(403, secure...)
	c.allow()
	c.gets(200, secure...)
	c.fails("connection refused", plain)

	n.cycles(1, func() { n.apply("--no-tls").exits(done) })
	c.gets(200, plain)
	c.fails("connection refused", secure...)
}

// caller is a Deployment in the namespace of a node that calls its sidecar all the time.
type caller struct {
	n    *Node
	urls []string
}

// caller deploys one with a ServiceAccount, a token of it for sidecars, and a CA to trust.
func (n *Node) caller(ca string, urls ...string) *caller {
	n.s.Helper()
	s, meta := n.s, metav1.ObjectMeta{Name: "caller", Namespace: n.s.ns}
	c := &caller{n: n, urls: urls}
	s.create(&corev1.ServiceAccount{ObjectMeta: meta})
	s.create(&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"ca.crt": ca}})
	labels := map[string]string{"app": meta.Name}
	s.create(&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: c.pod(meta.Name)},
	}})
	return c
}

// pod looks names up as any pod does: nothing is said about DNS.
func (c *caller) pod(name string) corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName:            name,
		AutomountServiceAccountToken:  new(false),
		TerminationGracePeriodSeconds: new(int64(1)),
		Containers: []corev1.Container{{
			Name: name, Image: "lab.invalid/caller:v1",
			Args:         append([]string{"--ca", "/etc/sidecar/ca.crt", "--token", "/etc/sidecar/token"}, c.urls...),
			VolumeMounts: []corev1.VolumeMount{{Name: "sidecar", MountPath: "/etc/sidecar", ReadOnly: true}},
		}},
		Volumes: []corev1.Volume{{Name: "sidecar", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "sei-sidecar", Path: "token"}},
			},
		}}}},
	}
}

// allow lets it call the node's sidecar.
func (c *caller) allow() {
	c.n.s.Helper()
	s, meta := c.n.s, metav1.ObjectMeta{Name: "caller", Namespace: c.n.s.ns}
	s.create(&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"seinodetasks"}, ResourceNames: []string{c.n.name}, Verbs: []string{"get"},
	}}})
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: meta.Name, Namespace: s.ns}},
	})
}

// gets waits until the latest calls of these URLs are answered with a status code.
func (c *caller) gets(code int, urls ...string) {
	c.n.s.Helper()
	c.eventually(fmt.Sprint("is answered ", code), urls, func(got call) bool { return got.Code == code })
}

// fails waits until the latest calls of these URLs fail with an error.
func (c *caller) fails(text string, urls ...string) {
	c.n.s.Helper()
	c.eventually("fails with "+text, urls, func(got call) bool { return strings.Contains(got.Error, text) })
}

// call is a line of the caller's log.
type call struct {
	URL, Error string
	Code       int
}

func (c *caller) eventually(what string, urls []string, check func(call) bool) {
	c.n.s.Helper()
	c.n.s.eventually("the caller "+what, func() error {
		latest, err := c.latest()
		if err != nil {
			return err
		}
		for _, url := range urls {
			if got := latest[url]; !check(got) {
				return fmt.Errorf("%s: %+v", url, got)
			}
		}
		return nil
	})
}

// latest are the calls of the last round.
func (c *caller) latest() (map[string]call, error) {
	s := c.n.s
	var pods corev1.PodList
	if err := s.client.List(s.Context(), &pods, client.InNamespace(s.ns), client.MatchingLabels{"app": "caller"}); err != nil {
		return nil, err
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("%d pods call", len(pods.Items))
	}
	options := &corev1.PodLogOptions{TailLines: new(int64(len(c.urls)))}
	log, err := s.kube.CoreV1().Pods(s.ns).GetLogs(pods.Items[0].Name, options).DoRaw(s.Context())
	if err != nil {
		return nil, err
	}
	latest := map[string]call{}
	for line := range strings.Lines(string(log)) {
		var got call
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			return nil, fmt.Errorf("reading %q: %w", line, err)
		}
		latest[got.URL] = got
	}
	return latest, nil
}

// rootOf is the certificate of a CA of the lab.
func (s *S) rootOf(issuer string) string {
	s.Helper()
	var secret corev1.Secret
	require.NoError(s, s.client.Get(s.Context(), types.NamespacedName{Namespace: "cert-manager", Name: issuer}, &secret))
	return string(secret.Data[corev1.TLSCertKey])
}
