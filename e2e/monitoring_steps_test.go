//go:build e2e

package e2e

import (
	"fmt"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

func (m *monitored) sound() {
	m.prometheus.awaitValue(`up{job="seictl-operator"}`, 1)
	for _, n := range []*Node{m.own, m.issued, m.shared} {
		m.prometheus.awaitValue(m.of(secretReady, n), 1)
		m.prometheus.awaitValue(m.of("seinode_sidecar_tls_served_cert_current", n), 1)
		m.prometheus.awaitValue(m.of("seinode_sidecar_tls_cert_not_after_timestamp_seconds", n),
			float64(n.get().Status.CurrentSidecarTLS.NotAfter.Unix()))
	}
	m.prometheus.awaitNone("ALERTS")
}

// served: what a proxy serves is looked at now and then, so that an unsound Secret says whether its clients fail now.
func (m *monitored) served() {
	n, current := m.own, m.of("seinode_sidecar_tls_served_cert_current", m.own)
	m.keepsPod(n, func() {
		n.fault(proxy, "wrong-leaf", nil)
		m.prometheus.awaitValue(current, 0)
		m.prometheus.awaitValue(m.of(secretReady, n), 1)
		require.Empty(m, n.get().Status.CurrentSidecarTLS.FingerprintSHA256, "nobody vouches for what is served")
		n.heal(proxy)
		m.prometheus.awaitValue(current, 1)

		n.fault(proxy, "stale-leaf", nil)
		cert, key := m.ca.pair(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), n.names()[0])
		m.says(n, m.replace(m.ca.secret("own", cert, key)), metav1.ConditionFalse, v1alpha1.ReasonTLSSecretSANsMismatch,
			"the proxy serves another one still")
		m.prometheus.awaitValue(current, 0)
		n.heal(proxy)
		m.prometheus.awaitValue(current, 1)
		m.prometheus.awaitValue(m.of(secretReady, n), 0)
		n.eventually("clients fail now", func(o *v1alpha1.SeiNode) bool {
			c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
			return holdsAll(c.Message, []string{"the proxy serves it, so that callers are affected now"})
		})
		m.isSound(n, m.replace(m.sound90()))
		m.prometheus.awaitValue(current, 1)
	})
}

func (m *monitored) secretDeleted() {
	m.keepsPod(m.own, func() {
		m.delete("own", &corev1.Secret{})
		m.pages(m.own, time.Now(), func() { m.provision() })
	})
}

// healed: cert-manager issues a Secret anew that is deleted.
func (m *monitored) healed() {
	n := m.shared
	m.keepsPod(n, func() {
		var before corev1.Secret
		require.NoError(m, m.get(n.certificateName(), &before))
		m.delete(n.certificateName(), &corev1.Secret{})
		m.eventually("cert-manager issued it anew", func() error {
			var now corev1.Secret
			if err := m.get(n.certificateName(), &now); err != nil {
				return err
			}
			if now.UID == before.UID || len(now.Data[corev1.TLSCertKey]) == 0 {
				return errNotYet
			}
			return nil
		})
		n.eventually("the new Secret is sound", func(o *v1alpha1.SeiNode) bool {
			return meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
		})
		m.withinOneScrape(n, 1, time.Now())
		m.prometheus.awaitNone("count_over_time(" + m.alert(notReady, "firing", n) + "[10m])")
	})
}

// issuerGone: without its issuer cert-manager issues nothing.
func (m *monitored) issuerGone() {
	n := m.issued
	m.keepsPod(n, func() {
		m.delete("own-ca", &cmv1.Issuer{})
		var secret corev1.Secret
		require.NoError(m, m.get(n.certificateName(), &secret))
		spoilt := time.Now()
		secret.Annotations[cmv1.IssuerNameAnnotationKey] = "another-ca"
		m.update(&secret)
		m.withinOneScrape(n, 0, m.says(n, spoilt, metav1.ConditionFalse, v1alpha1.ReasonTLSSecretIssuerMismatch, "another-ca", "own-ca"))
		m.delete(n.certificateName(), &corev1.Secret{})
		m.pages(n, time.Now(), func() {
			i := &cmv1.Issuer{ObjectMeta: metav1.ObjectMeta{Name: "own-ca", Namespace: m.ns}}
			i.Spec.CA = &cmv1.CAIssuer{SecretName: "own-ca"}
			m.createForGood(i)
		})
	})
}

// unsound: each way to be unsound has its own reason, and the message names what is missing.
func (m *monitored) unsound() {
	n, hour := m.own, time.Hour
	from, until := time.Now().Add(-hour), time.Now().Add(90*24*hour)
	good, goodKey := m.ca.pair(from, until, n.names()...)
	_, otherKey := m.ca.pair(from, until, n.names()...)
	short, shortKey := m.ca.pair(from, until, n.names()[0], "something.else")
	old, oldKey := m.ca.pair(from.Add(-hour), from, n.names()...)
	young, youngKey := m.ca.pair(until, until.Add(hour), n.names()...)
	opaque := m.ca.secret("own", good, goodKey)
	opaque.Type = corev1.SecretTypeOpaque
	for _, tc := range []struct {
		name, reason string
		secret       *corev1.Secret
		says         []string
	}{
		{"SANs replaced", v1alpha1.ReasonTLSSecretSANsMismatch, m.ca.secret("own", short, shortKey), []string{n.names()[1]}},
		{"wrong type", v1alpha1.ReasonTLSSecretMalformed, opaque, []string{"Opaque", "kubernetes.io/tls"}},
		{"empty", v1alpha1.ReasonTLSSecretMalformed, m.ca.secret("own", nil, nil), []string{"tls.crt"}},
		{"key of another", v1alpha1.ReasonTLSSecretMalformed, m.ca.secret("own", good, otherKey), []string{"is not the key of the certificate"}},
		{"expired", v1alpha1.ReasonTLSSecretExpired, m.ca.secret("own", old, oldKey), []string{"expired"}},
		{"not yet valid", v1alpha1.ReasonTLSSecretNotYetValid, m.ca.secret("own", young, youngKey), []string{"valid from"}},
	} {
		m.keepsPod(n, func() {
			m.Log(tc.name)
			spoilt := m.replace(tc.secret)
			m.withinOneScrape(n, 0, m.says(n, spoilt, metav1.ConditionFalse, tc.reason, append(tc.says, m.ns+"/own")...))
		})
	}
	m.withinOneScrape(n, 1, m.isSound(n, m.replace(m.ca.secret("own", good, goodKey))))
}

// expires: nothing changes but the time.
func (m *monitored) expires() {
	n := m.own
	m.keepsPod(n, func() {
		// Whole seconds, as in a certificate.
		until := time.Now().Add(8 * time.Second).Truncate(time.Second)
		cert, key := m.ca.pair(time.Now().Add(-time.Hour), until, n.names()...)
		m.isSound(n, m.replace(m.ca.secret("own", cert, key)))
		n.eventually("the end of the certificate", func(*v1alpha1.SeiNode) bool { return time.Now().After(until.Add(time.Second)) })
		m.withinOneScrape(n, 0, m.says(n, until.Add(time.Second), metav1.ConditionFalse, v1alpha1.ReasonTLSSecretExpired, "expired"))
		m.withinOneScrape(n, 1, m.isSound(n, m.replace(m.sound90())))
	})
}

// denied: an operator that may not read a Secret does not say that there is none.
func (m *monitored) denied() {
	n := m.own
	var role rbacv1.ClusterRole
	require.NoError(m, m.client.Get(m.Context(), client.ObjectKey{Name: operatorKey.Name}, &role))
	rules := role.DeepCopy().Rules
	restore := func() {
		require.NoError(m, m.client.Get(background(), client.ObjectKey{Name: operatorKey.Name}, &role))
		role.Rules = rules
		require.NoError(m, m.client.Update(background(), &role))
	}
	m.Cleanup(restore)
	for i := range role.Rules {
		if r := &role.Rules[i]; len(r.Resources) == 1 && r.Resources[0] == "secrets" {
			r.Verbs = []string{"watch", "list"}
		}
	}
	m.update(&role)
	m.keepsPod(n, func() {
		m.eventually("the operator may not read Secrets", func() error { return m.mayNot("get", "secrets") })
		m.replace(m.sound90())
		n.eventually("unavailable", func(o *v1alpha1.SeiNode) bool {
			c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
			return c.Status == metav1.ConditionUnknown && c.Reason == v1alpha1.ReasonTLSSecretUnavailable &&
				holdsAll(c.Message, []string{m.ns + "/own", "forbidden", "seictl-operator"})
		})
		m.withinOneScrape(n, 0, time.Now())
		restore()
		n.eventually("found sound again by itself", func(o *v1alpha1.SeiNode) bool {
			return meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
		})
		m.withinOneScrape(n, 1, time.Now())
		m.prometheus.awaitNone(m.alert(notReady, "firing", n))
	})
}

// operatorGone: the operator's last word stands while nobody is there to be asked, and that nobody is there pages as well.
func (m *monitored) operatorGone() {
	n := m.own
	m.keepsPod(n, func() {
		m.delete("own", &corev1.Secret{})
		m.withinOneScrape(n, 0, m.says(n, time.Now(), metav1.ConditionFalse, v1alpha1.ReasonTLSSecretNotFound))
		m.prometheus.awaitValue(m.alert(notReady, "firing", n), 1)
		m.scaleOperator(0)
		m.prometheus.awaitValue(`ALERTS{alertname="SeictlOperatorAbsent",alertstate="firing"}`, 1)
		m.prometheus.awaitValue(m.alert(notReady, "firing", n), 1)
		m.scaleOperator(1)
		m.eventually("the operator leads", func() error { return m.operatorLeads("") })
		m.prometheus.target()
		m.prometheus.awaitNone(`ALERTS{alertname="SeictlOperatorAbsent"}`)
		m.prometheus.awaitValue(m.alert(notReady, "firing", n), 1)
		m.isSound(n, m.provision())
		m.prometheus.awaitNone(m.alert(notReady, "firing", n))
	})
}

// mayNot says that the operator has a right in the namespace that it is not to have.
func (m *monitored) mayNot(verb, resource string) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               operatorAccount,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: m.ns, Verb: verb, Resource: resource},
	}}
	got, err := m.kube.AuthorizationV1().SubjectAccessReviews().Create(m.Context(), review, metav1.CreateOptions{})
	if err == nil && got.Status.Allowed {
		err = errNotYet
	}
	return err
}

func (s *S) scaleOperator(replicas int32) {
	s.Helper()
	var d appsv1.Deployment
	require.NoError(s, s.client.Get(s.Context(), operatorKey, &d))
	d.Spec.Replicas = &replicas
	s.update(&d)
	if replicas == 0 {
		s.eventually("no operator holds the Lease", func() error { return same("", s.holder()) })
	}
}

func (m *monitored) tlsOff() {
	n := m.shared
	n.edit(func(o *v1alpha1.SeiNode) {
		metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1alpha1.AnnotationAllowTLSRemoval, "true")
		o.Spec.Sidecar.TLS = nil
	})
	n.eventually("TLS is off", func(o *v1alpha1.SeiNode) bool { return o.Status.CurrentSidecarTLS == nil && isReady(o) })
	for _, metric := range []string{
		secretReady, "seinode_sidecar_tls_served_cert_current", "seinode_sidecar_tls_cert_not_after_timestamp_seconds",
	} {
		m.prometheus.awaitNone(m.of(metric, n))
	}
	m.prometheus.awaitValue(m.of("seinode_plan_active", n), 0)
	m.prometheus.awaitNone(m.of("ALERTS", n))
}

func (m *monitored) nodeDeleted() {
	n := m.issued
	m.delete(n.name, &v1alpha1.SeiNode{})
	m.prometheus.awaitNone(fmt.Sprintf("{namespace=%q,name=%q}", m.ns, n.name))
	m.prometheus.awaitNone(fmt.Sprintf("ALERTS{alertname=%q}", notReady))
}
