package rbacproxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// fakeReviews knows tokens of the form "user@audience", as TokenReview would, and lets alice do anything.
type fakeReviews struct {
	// asked is what the authorizer was asked last.
	asked authorizer.Attributes
	err   error
}

func (f *fakeReviews) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if f.err != nil {
		return nil, false, f.err
	}
	name, audience, found := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "@")
	if !found {
		return nil, false, nil
	}
	audiences := authenticator.Audiences{audience}
	if wanted, ok := authenticator.AudiencesFrom(r.Context()); ok {
		if audiences = wanted.Intersect(audiences); len(audiences) == 0 {
			return nil, false, nil
		}
	}
	caller := &user.DefaultInfo{Name: name, Groups: []string{"g1", "g2"}}
	return &authenticator.Response{User: caller, Audiences: audiences}, true, nil
}

func (f *fakeReviews) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	f.asked = a
	switch a.GetUser().GetName() {
	case "alice":
		return authorizer.DecisionAllow, "", nil
	case "broken":
		return authorizer.DecisionNoOpinion, "", errors.New("the API server is away")
	default:
		return authorizer.DecisionNoOpinion, "no binding", nil
	}
}

// newGate puts a gate in front of an upstream that answers 200 and remembers its last request.
func newGate(t *testing.T, headers headerOptions, inForce ...string) (*gate, *fakeReviews, func() http.Header) {
	t.Helper()
	var got http.Header
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	headers.userField, headers.groupsField, headers.groupsSeparator = "x-remote-user", "x-remote-groups", "|"
	reviews := &fakeReviews{}
	return &gate{
		authn: reviews, authz: reviews, audiences: []string{"sei-sidecar"},
		resource:    &resourceAttributes{APIGroup: "sei.io", Resource: "seinodetasks", Name: "node", Namespace: "ns"},
		ignorePaths: []string{"/v0/livez"}, upstream: newUpstream(target, headers, nil), faults: faults.NewSource(inForce...),
	}, reviews, func() http.Header { return got }
}

func ask(g *gate, method, path, token string, header http.Header) int {
	r := httptest.NewRequest(method, path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Code
}

func TestWhoGetsThrough(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path, token string
		faults      []string
		want        int
	}{
		"no token":                    {path: "/v0/status", want: http.StatusUnauthorized},
		"token of another audience":   {path: "/v0/status", token: "alice@vault", want: http.StatusUnauthorized},
		"allowed":                     {path: "/v0/status", token: "alice@sei-sidecar", want: http.StatusOK},
		"not allowed":                 {path: "/v0/status", token: "bob@sei-sidecar", want: http.StatusForbidden},
		"review of rights fails":      {path: "/v0/status", token: "broken@sei-sidecar", want: http.StatusInternalServerError},
		"ignored path without token":  {path: "/v0/livez", want: http.StatusOK},
		"below an ignored path":       {path: "/v0/livez/x", want: http.StatusUnauthorized},
		"no-review":                   {"/v0/status", "alice@sei-sidecar", []string{kinds.NoReview}, http.StatusUnauthorized},
		"forbid":                      {"/v0/status", "alice@sei-sidecar", []string{kinds.Forbid}, http.StatusForbidden},
		"forbid needs a caller first": {"/v0/status", "", []string{kinds.Forbid}, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _, _ := newGate(t, headerOptions{enabled: true}, tc.faults...)
			require.Equal(t, tc.want, ask(g, http.MethodGet, tc.path, tc.token, nil))
		})
	}
}

func TestFailingTokenReviewIs401(t *testing.T) {
	t.Parallel()
	g, reviews, _ := newGate(t, headerOptions{})
	reviews.err = errors.New("tokenreviews.authentication.k8s.io is forbidden")
	require.Equal(t, http.StatusUnauthorized, ask(g, http.MethodGet, "/v0/status", "alice@sei-sidecar", nil))
}

func TestWithoutAudiencesAnyTokenIsTaken(t *testing.T) {
	t.Parallel()
	g, _, _ := newGate(t, headerOptions{})
	g.audiences = nil
	require.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/v0/status", "alice@vault", nil))
}

func TestAllowPaths(t *testing.T) {
	t.Parallel()
	g, _, _ := newGate(t, headerOptions{})
	g.ignorePaths, g.allowPaths = nil, []string{"/v0/*"}
	require.Equal(t, http.StatusOK, ask(g, http.MethodGet, "/v0/status", "alice@sei-sidecar", nil))
	require.Equal(t, http.StatusNotFound, ask(g, http.MethodGet, "/v1/status", "alice@sei-sidecar", nil))
}

func TestRightsAskedFor(t *testing.T) {
	t.Parallel()
	g, reviews, _ := newGate(t, headerOptions{})
	for method, want := range map[string]string{
		http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update",
		http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodHead: "*",
	} {
		ask(g, method, "/v0/tasks", "alice@sei-sidecar", nil)
		require.Equal(t, want, reviews.asked.GetVerb())
	}
	require.True(t, reviews.asked.IsResourceRequest())
	require.Equal(t, "sei.io/seinodetasks/node/ns", strings.Join([]string{reviews.asked.GetAPIGroup(),
		reviews.asked.GetResource(), reviews.asked.GetName(), reviews.asked.GetNamespace()}, "/"))

	g.resource = nil
	ask(g, http.MethodGet, "/v0/tasks", "alice@sei-sidecar", nil)
	require.False(t, reviews.asked.IsResourceRequest())
	require.Equal(t, "/v0/tasks", reviews.asked.GetPath())
}

func TestIdentityHeaders(t *testing.T) {
	t.Parallel()
	forged := http.Header{"X-Remote-User": {"mallory", "eve"}, "X-Remote-Groups": {"root"}, "Connection": {"x-remote-user"}}
	for name, tc := range map[string]struct {
		enabled    bool
		path       string
		user, team []string
	}{
		"enabled":              {true, "/v0/status", []string{"alice"}, []string{"g1|g2"}},
		"disabled":             {false, "/v0/status", nil, nil},
		"ignored path":         {true, "/v0/livez", nil, nil},
		"ignored and disabled": {false, "/v0/livez", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _, received := newGate(t, headerOptions{enabled: tc.enabled})
			require.Equal(t, http.StatusOK, ask(g, http.MethodGet, tc.path, "alice@sei-sidecar", forged.Clone()))
			require.Equal(t, tc.user, received().Values("X-Remote-User"))
			require.Equal(t, tc.team, received().Values("X-Remote-Groups"))
		})
	}
}
