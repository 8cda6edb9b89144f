package rbacproxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

// apiServer answers reviews: the token "good" is alice's and for the audience sei-sidecar; alice may get seinodetasks.
type apiServer struct {
	mu      sync.Mutex
	reviews map[string]int
	// forbidden refuses TokenReviews, as for a ServiceAccount without system:auth-delegator.
	forbidden bool
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reviews[r.URL.Path]++
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/apis/authentication.k8s.io/v1/tokenreviews":
		if a.forbidden {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`))
			return
		}
		var review authenticationv1.TokenReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		if review.Spec.Token == "good" && slices.Contains(review.Spec.Audiences, "sei-sidecar") {
			review.Status.Authenticated = true
			review.Status.User.Username = "alice"
			review.Status.Audiences = []string{"sei-sidecar"}
		}
		_ = json.NewEncoder(w).Encode(review)
	case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		var review authorizationv1.SubjectAccessReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		asked := review.Spec.ResourceAttributes
		review.Status.Allowed = review.Spec.User == "alice" && asked != nil && asked.Group == "sei.io" &&
			asked.Resource == "seinodetasks" && asked.Name == "node" && asked.Verb == "get"
		_ = json.NewEncoder(w).Encode(review)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (a *apiServer) count(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reviews[path]
}

// reviewedGate is a gate that asks a real client of a fake API server.
func reviewedGate(t *testing.T, api *apiServer, audience string) *gate {
	t.Helper()
	api.reviews = map[string]int{}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	g, _, _ := newGate(t, headerOptions{enabled: true})
	o := &options{audiences: []string{audience}, ttl: cacheTTLs{time.Minute, time.Minute, time.Minute}}
	var err error
	g.authn, g.authz, err = reviewers(&rest.Config{Host: server.URL}, o)
	require.NoError(t, err)
	g.audiences = o.audiences
	return g
}

func TestReviewsDecide(t *testing.T) {
	t.Parallel()
	api := &apiServer{}
	g := reviewedGate(t, api, "sei-sidecar")
	require.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/v0/status", "good", nil))
	require.Equal(t, http.StatusForbidden, ask(g, http.MethodPost, "/v0/tasks", "good", nil))
	require.Equal(t, http.StatusUnauthorized, ask(g, http.MethodGet, "/v0/status", "bad", nil))
	require.Equal(t, http.StatusUnauthorized, ask(g, http.MethodGet, "/v0/status", "", nil))

	const rights = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
	before := api.count(rights)
	require.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/v0/status", "good", nil))
	require.Equal(t, http.StatusForbidden, ask(g, http.MethodPost, "/v0/tasks", "good", nil))
	require.Equal(t, before, api.count(rights), "both answers are cached")
}

func TestMisspeltGroupIsForbidden(t *testing.T) {
	t.Parallel()
	g := reviewedGate(t, &apiServer{}, "sei-sidecar")
	g.resource.APIGroup = ""
	require.Equal(t, http.StatusForbidden, ask(g, http.MethodGet, "/v0/status", "good", nil))
}

func TestTokenOfAnotherAudience(t *testing.T) {
	t.Parallel()
	g := reviewedGate(t, &apiServer{}, "somebody-else")
	require.Equal(t, http.StatusUnauthorized, ask(g, http.MethodGet, "/v0/status", "good", nil))
}

func TestForbiddenTokenReview(t *testing.T) {
	t.Parallel()
	g := reviewedGate(t, &apiServer{forbidden: true}, "sei-sidecar")
	require.Equal(t, http.StatusUnauthorized, ask(g, http.MethodGet, "/v0/status", "good", nil))
}

func TestStartDoesNotAskTheAPIServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, _, err := reviewers(&rest.Config{Host: server.URL}, &options{})
	require.NoError(t, err)
}
