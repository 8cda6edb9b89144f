package rbacproxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/klog/v2"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// gate decides which requests reach the upstream.
type gate struct {
	authn     authenticator.Request
	authz     authorizer.Authorizer
	audiences authenticator.Audiences
	// resource is what callers need the right to; nil for the path itself.
	resource    *resourceAttributes
	allowPaths  []string
	ignorePaths []string
	upstream    http.Handler
	faults      *faults.Source
}

// callerKey finds the authenticated caller in a request's context.
type callerKey struct{}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(g.allowPaths) > 0 && !matches(g.allowPaths, r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	if matches(g.ignorePaths, r.URL.Path) {
		g.upstream.ServeHTTP(w, r)
		return
	}
	caller := g.authenticate(r)
	if caller == nil {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	if code, message := g.authorize(r, caller); code != http.StatusOK {
		http.Error(w, message, code)
		return
	}
	g.upstream.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
}

// authenticate returns who calls, nil for nobody we know. Every failure looks the same from outside, a TokenReview
// that the proxy may not create included; only the log tells them apart.
func (g *gate) authenticate(r *http.Request) user.Info {
	ctx := r.Context()
	if len(g.audiences) > 0 {
		// The authenticator asks the API server whether the token is for one of these.
		ctx = authenticator.WithAudiences(ctx, g.audiences)
	}
	if g.faults.Has(kinds.NoReview) {
		klog.ErrorS(fmt.Errorf("tokenreviews.authentication.k8s.io is forbidden: User cannot create resource "+
			"%q in API group %q at the cluster scope", "tokenreviews", "authentication.k8s.io"),
			"Unable to authenticate the request")
		return nil
	}
	response, ok, err := g.authn.AuthenticateRequest(r.WithContext(ctx))
	if err != nil {
		klog.ErrorS(err, "Unable to authenticate the request")
		return nil
	}
	if !ok {
		return nil
	}
	return response.User
}

// authorize returns 200, or the status code and text to answer with.
func (g *gate) authorize(r *http.Request, caller user.Info) (int, string) {
	attributes := g.attributes(r, caller)
	what := fmt.Sprintf("(user=%s, verb=%s, resource=%s, subresource=%s)",
		caller.GetName(), attributes.GetVerb(), attributes.GetResource(), attributes.GetSubresource())
	if g.faults.Has(kinds.Forbid) {
		return http.StatusForbidden, "Forbidden " + what
	}
	decision, reason, err := g.authz.Authorize(r.Context(), attributes)
	if err != nil {
		klog.ErrorS(err, "Authorization error", "attributes", what)
		return http.StatusInternalServerError, "Authorization error " + what
	}
	if decision != authorizer.DecisionAllow {
		klog.V(2).InfoS("Forbidden", "attributes", what, "reason", reason)
		return http.StatusForbidden, "Forbidden " + what
	}
	return http.StatusOK, ""
}

// attributes are what the caller needs the right to.
func (g *gate) attributes(r *http.Request, caller user.Info) authorizer.Attributes {
	if g.resource == nil {
		return authorizer.AttributesRecord{User: caller, Verb: verb(r.Method), Path: r.URL.Path}
	}
	return authorizer.AttributesRecord{
		User: caller, Verb: verb(r.Method), ResourceRequest: true,
		Namespace: g.resource.Namespace, Name: g.resource.Name,
		APIGroup: g.resource.APIGroup, APIVersion: g.resource.APIVersion,
		Resource: g.resource.Resource, Subresource: g.resource.Subresource,
	}
}

// verb is the Kubernetes verb for an HTTP method.
func verb(method string) string {
	switch method {
	case http.MethodGet:
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	default:
		return "*"
	}
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := path.Match(pattern, name) // a bad pattern is refused at start
		return ok
	})
}

// newUpstream proxies to the sidecar and tells it who calls. The identity headers are ours alone: what a client sent
// under these names goes, also on paths that nobody authenticates for. They are set after the hop-by-hop headers are
// removed, so a client cannot have them removed by naming them in Connection.
func newUpstream(target *url.URL, h headerOptions, transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			for _, name := range []string{"X-Remote-User", "X-Remote-Groups", h.userField, h.groupsField} {
				r.Out.Header.Del(name)
			}
			caller, ok := r.In.Context().Value(callerKey{}).(user.Info)
			if !ok || !h.enabled {
				return
			}
			r.Out.Header.Set(h.userField, caller.GetName())
			r.Out.Header.Set(h.groupsField, strings.Join(caller.GetGroups(), h.groupsSeparator))
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			klog.ErrorS(err, "http: proxy error")
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}
