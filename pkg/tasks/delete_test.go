package tasks

import (
	"context"
	"errors"
	"testing"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func deleteInput(typ v1alpha1.TaskType) Input {
	return input(typ, v1alpha1.TaskParams{
		SidecarCert:     &v1alpha1.SidecarCertParams{Name: "alpha-sidecar-tls"},
		RBACProxyConfig: &v1alpha1.RBACProxyConfigParams{Name: "alpha-rbac-proxy-config"},
	})
}

func exists(t *testing.T, env *Env, obj client.Object) bool {
	t.Helper()
	err := env.Live.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	require.NoError(t, client.IgnoreNotFound(err))
	return err == nil
}

func TestDeleteRBACProxyConfig(t *testing.T) {
	env := newEnv(t)
	ours := resources.ProxyConfig(resources.OwnerOf(testNode()), resources.RBACProxyConfigParamsFor(testNode()))
	ours.UID = "config-uid"
	foreign := ours.DeepCopy()
	foreign.OwnerReferences = nil
	templated := testStatefulSet(func(s *appsv1.StatefulSet) { s.Spec.Template.Spec = testPod(env, issuerTLS, "x").Spec })
	for name, c := range map[string]struct {
		objs    []client.Object
		gone    bool
		message string
	}{
		"ours":                {objs: []client.Object{ours, testPod(env, nil, "alpha-new")}, gone: true},
		"absent":              {gone: true},
		"foreign":             {objs: []client.Object{foreign}},
		"mounted":             {objs: []client.Object{ours, testPod(env, issuerTLS, "alpha-old")}, message: "pod chain/alpha-0 still mounts"},
		"about to be mounted": {objs: []client.Object{ours, templated}, message: "the template of StatefulSet chain/alpha still mounts"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, c.objs...)
			r, err := Run(t.Context(), env, deleteInput(v1alpha1.TaskDeleteRBACProxyConfig))
			require.NoError(t, err)
			require.Equal(t, c.message == "", r.Phase == Done)
			require.Contains(t, r.Message, c.message)
			require.Equal(t, !c.gone, exists(t, env, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: ours.Name}}))
		})
	}
}

// noPods is a reader that must not be asked for pods.
type noPods struct{ client.Reader }

func (r noPods) Get(ctx context.Context, key client.ObjectKey, obj client.Object, o ...client.GetOption) error {
	if _, pod := obj.(*corev1.Pod); pod {
		return errors.New("asked for a pod")
	}
	return r.Reader.Get(ctx, key, obj, o...)
}

// The pod that the plan saw come needs not be read again: its volumes cannot change.
func TestDeleteKnowsThePodThatThePlanSawCome(t *testing.T) {
	ours := resources.ProxyConfig(resources.OwnerOf(testNode()), resources.RBACProxyConfigParamsFor(testNode()))
	ours.UID = "config-uid"
	run := func(saw types.UID, status v1alpha1.TaskStatus) (Result, error) {
		pod := testPod(newEnv(t), nil, "alpha-new")
		env := newEnv(t, ours.DeepCopy(), pod)
		env.Live = noPods{env.Live}
		in := deleteInput(v1alpha1.TaskDeleteRBACProxyConfig)
		in.Plan.Tasks = append(in.Plan.Tasks, v1alpha1.Task{
			Type: v1alpha1.TaskReplacePod, Status: status, Output: &v1alpha1.TaskOutput{PodUID: string(saw)},
		})
		return Run(t.Context(), env, in)
	}
	uid := testPod(newEnv(t), nil, "alpha-new").UID
	r, err := run(uid, v1alpha1.TaskComplete)
	require.NoError(t, err)
	require.Equal(t, Done, r.Phase)
	_, err = run(uid, v1alpha1.TaskRunning)
	require.ErrorContains(t, err, "asked for a pod", "it is the old one's")
	_, err = run("another", v1alpha1.TaskComplete)
	require.ErrorContains(t, err, "asked for a pod")
}

func TestDeleteSidecarCert(t *testing.T) {
	env := newEnv(t)
	cert := testCertificate(env, cmmeta.ConditionTrue, 2)
	foreignCert := cert.DeepCopy()
	foreignCert.OwnerReferences = ownedBy("Gateway", "g", "u")
	rival := cert.DeepCopy()
	rival.Name, rival.UID = "rival", "rival-uid"
	pair := newAuthority(t, "ca").issue(t, testDNSNames...)
	issued := pair.secret(issuerTLS)
	foreignSecret := pair.secret(issuerTLS)
	foreignSecret.Annotations = nil
	labelled := foreignSecret.DeepCopy()
	labelled.Labels = map[string]string{"controller.cert-manager.io/fao": "true"}
	forAnother := pair.secret(issuerTLS)
	forAnother.Annotations["cert-manager.io/certificate-name"] = "rival"
	user := nodeImporting("beta", "")
	user.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{SecretName: "alpha-sidecar-tls"}}

	for name, c := range map[string]struct {
		objs       []client.Object
		keepCert   bool
		keepSecret bool
		message    string
	}{
		"both ours":                    {objs: []client.Object{cert, issued, testPod(env, nil, "alpha-new")}},
		"nothing there":                {},
		"Certificate gone already":     {objs: []client.Object{issued}},
		"Secret known by its label":    {objs: []client.Object{cert, labelled}},
		"foreign Certificate":          {objs: []client.Object{foreignCert, issued}, keepCert: true, keepSecret: true},
		"foreign Secret":               {objs: []client.Object{cert, foreignSecret}, keepSecret: true},
		"Secret of another":            {objs: []client.Object{cert, forAnother}, keepSecret: true},
		"another Certificate names it": {objs: []client.Object{cert, issued, rival}, keepSecret: true},
		"another node names it":        {objs: []client.Object{cert, issued, user}, keepSecret: true},
		"mounted": {objs: []client.Object{cert, issued, testPod(env, issuerTLS, "alpha-old")}, keepCert: true, keepSecret: true,
			message: "pod chain/alpha-0 still mounts Secret alpha-sidecar-tls"},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t, c.objs...)
			for range 2 { // safe to run twice
				r, err := Run(t.Context(), env, deleteInput(v1alpha1.TaskDeleteSidecarCert))
				require.NoError(t, err)
				require.Equal(t, c.message == "", r.Phase == Done)
				require.Contains(t, r.Message, c.message)
			}
			require.Equal(t, c.keepCert, exists(t, env, cert.DeepCopy()))
			require.Equal(t, c.keepSecret, exists(t, env, issued.DeepCopy()))
		})
	}
}
