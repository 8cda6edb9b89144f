package sidecar

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

// tokenServer grants tokens of the given life and keeps what it was asked.
func tokenServer(t *testing.T, granted int64, fail error) (*tokenRequests, *[]authenticationv1.TokenRequest, *time.Time) {
	t.Helper()
	clients := fake.NewClientset()
	asked := &[]authenticationv1.TokenRequest{}
	clients.PrependReactor("create", "serviceaccounts", func(a ktesting.Action) (bool, runtime.Object, error) {
		create := a.(ktesting.CreateActionImpl)
		require.Equal(t, "token", create.Subresource)
		require.Equal(t, "sei-system", create.Namespace)
		require.Equal(t, "seictl-client", create.Name)
		if fail != nil {
			return true, nil, fail
		}
		req := create.Object.(*authenticationv1.TokenRequest).DeepCopy()
		*asked = append(*asked, *req.DeepCopy())
		req.Spec.ExpirationSeconds = &granted
		req.Status.Token = fmt.Sprintf("token-%d", len(*asked))
		return true, req, nil
	})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	source := TokenRequests(clients).(*tokenRequests)
	source.now = func() time.Time { return now }
	return source, asked, &now
}

func TestTokenRequestAndItsLife(t *testing.T) {
	source, asked, now := tokenServer(t, 600, nil)
	token, err := source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token-1", token)
	require.Equal(t, []string{"sei-sidecar"}, (*asked)[0].Spec.Audiences)
	require.Equal(t, int64(600), *(*asked)[0].Spec.ExpirationSeconds)

	*now = now.Add(479 * time.Second)
	token, err = source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token-1", token)

	*now = now.Add(time.Second) // 80 % of 600 s
	token, err = source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token-2", token)

	source.Invalidate()
	token, err = source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "token-3", token)
}

func TestTokenIsAskedForOnce(t *testing.T) {
	source, asked, _ := tokenServer(t, 600, nil)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() { _, _ = source.Token(t.Context()) })
	}
	callers.Wait()
	require.Len(t, *asked, 1)
}

func TestTokenErrorsNameTheFix(t *testing.T) {
	gr := corev1.Resource("serviceaccounts")
	for want, fail := range map[string]error{
		"run 'seictl install base --apply'":                        apierrors.NewNotFound(gr, "seictl-client"),
		"needs 'create' on serviceaccounts/token":                  apierrors.NewForbidden(gr, "seictl-client", nil),
		"requesting a token for ServiceAccount sei-system/seictl-": apierrors.NewInternalError(fmt.Errorf("boom")),
	} {
		source, _, _ := tokenServer(t, 600, fail)
		_, err := source.Token(t.Context())
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, fail)
	}
}
