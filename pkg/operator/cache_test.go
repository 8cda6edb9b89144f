package operator

import (
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
)

// What decisions read stays in the cache, what is most of an object does not.
func TestSlim(t *testing.T) {
	t.Parallel()
	managed := []metav1.ManagedFieldsEntry{
		{Manager: "kubectl", FieldsV1: metav1.NewFieldsV1("{}")},
		{Manager: "seictl-engine", Subresource: "status", FieldsV1: metav1.NewFieldsV1("{}")},
	}
	node := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{ManagedFields: managed}}
	_, err := slim(node)
	require.NoError(t, err)
	require.Len(t, node.ManagedFields, 2, "who wrote, and when")
	require.NotNil(t, node.ManagedFields[0].FieldsV1, "what of the spec somebody wrote is told when a child is put back")
	require.Nil(t, node.ManagedFields[1].FieldsV1)

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: managed}, Spec: corev1.PodSpec{
		Volumes: []corev1.Volume{{Name: "data"}},
		InitContainers: []corev1.Container{{
			Name: "sei-sidecar", Image: "i", Env: []corev1.EnvVar{{Name: "PORT"}}, LivenessProbe: &corev1.Probe{},
		}},
	}}
	_, err = slim(pod)
	require.NoError(t, err)
	require.Empty(t, pod.ManagedFields)
	require.NotEmpty(t, pod.Spec.Volumes)
	require.Equal(t, corev1.Container{Name: "sei-sidecar", Image: "i", Env: []corev1.EnvVar{{Name: "PORT"}}}, pod.Spec.InitContainers[0])

	request := &cmv1.CertificateRequest{Status: cmv1.CertificateRequestStatus{Certificate: []byte("x")}}
	_, err = slim(request)
	require.NoError(t, err)
	require.Empty(t, request.Status.Certificate)
}
