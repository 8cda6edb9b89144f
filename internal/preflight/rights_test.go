package preflight

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

func has(rs []Right, resource, verb string) bool {
	for _, r := range rs {
		if r.resource() == resource && r.Verb == verb {
			return true
		}
	}
	return false
}

func TestRightsFollowThePlan(t *testing.T) {
	p := planWith(v1alpha1.TaskApplySidecarCert, v1alpha1.TaskApplyStatefulSet, v1alpha1.TaskReplacePod, v1alpha1.TaskMarkReady)
	need := Need{Namespace: "fleet", Plan: p, Edits: true, Drives: true, PortForward: true, TLS: true}
	rs := need.Rights()
	for _, want := range [][2]string{
		{"seinodes.sei.io", "patch"}, {"seinodes.sei.io/status", "patch"}, {"certificates.cert-manager.io", "patch"},
		{"statefulsets.apps", "create"}, {"pods", "delete"}, {"pods/portforward", "create"}, {"serviceaccounts/token", "create"},
		{"leases.coordination.k8s.io", "update"},
	} {
		require.True(t, has(rs, want[0], want[1]), "%v", want)
	}
	require.False(t, has(rs, "seinodes.sei.io", "create"))
	require.False(t, has(rs, "configmaps", "patch"))
	seen := map[Right]bool{}
	for _, r := range rs {
		require.False(t, seen[r], "asked twice: %+v", r)
		seen[r] = true
	}
}

func TestRightsOfWhoOnlyEdits(t *testing.T) {
	need := Need{Namespace: "fleet", Plan: planWith(v1alpha1.TaskReplacePod), Edits: true, Creates: true}
	require.Equal(t, []Right{
		{Namespace: "fleet", Group: "sei.io", Resource: "seinodes", Verb: "get"},
		{Namespace: "fleet", Group: "sei.io", Resource: "seinodes", Verb: "patch"},
		{Namespace: "fleet", Group: "sei.io", Resource: "seinodes", Verb: "create"},
	}, need.Rights(), "an operator does the rest")
}

func TestMissing(t *testing.T) {
	byNamespace, unknown := missing([]Access{
		{Right: Right{Namespace: "a", Resource: "pods", Verb: "get"}, Allowed: true},
		{Right: Right{Namespace: "a", Resource: "pods", Verb: "delete"}},
		{Right: Right{Namespace: "a", Group: "apps", Resource: "statefulsets", Verb: "patch"}},
		{Right: Right{Namespace: "a", Group: "apps", Resource: "statefulsets", Verb: "create"}},
		{Right: Right{Namespace: "b", Resource: "secrets", Verb: "get"}, Err: errDenied},
	})
	require.Equal(t, map[string]string{"a": "delete pods; patch, create statefulsets.apps"}, byNamespace)
	require.Equal(t, errDenied, unknown)
}

func TestUnknownFields(t *testing.T) {
	object := func(fields ...any) map[string]any {
		p := map[string]any{}
		for i := 0; i+1 < len(fields); i += 2 {
			p[fields[i].(string)] = fields[i+1]
		}
		return map[string]any{"type": "object", "properties": p}
	}
	leaf := map[string]any{"type": "string"}
	list := func(of map[string]any) map[string]any { return map[string]any{"type": "array", "items": of} }
	ours := object("metadata", leaf, "spec", object("a", leaf, "tls", object("x", leaf, "y", leaf), "list", list(object("p", leaf, "q", leaf))))
	for name, c := range map[string]struct {
		served map[string]any
		want   []string
	}{
		"the same":          {ours, nil},
		"more":              {object("spec", object("a", leaf, "b", leaf, "tls", object("x", leaf, "y", leaf), "list", list(object("p", leaf, "q", leaf)))), nil},
		"a part is missing": {object("spec", object("a", leaf, "list", list(object("p", leaf, "q", leaf)))), []string{"spec.tls"}},
		"fields are missing": {object("spec", object("a", leaf, "tls", object("x", leaf), "list", list(object("p", leaf)))),
			[]string{"spec.list[].q", "spec.tls.y"}},
		"keeps everything": {map[string]any{"x-kubernetes-preserve-unknown-fields": true}, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, unknownFields(ours, c.served, "")) })
	}
}

// The schema that we compare with is the one that we install.
func TestOurSchemas(t *testing.T) {
	ours, err := ourSchemas()
	require.NoError(t, err)
	require.Contains(t, ours, "SeiNode")
	require.Contains(t, ours, "SeiNodeDeployment")
	require.Contains(t, unknownFields(ours["SeiNode"], map[string]any{"properties": map[string]any{"spec": map[string]any{}, "status": map[string]any{}}}, ""),
		"spec.sidecar")
	require.Empty(t, unknownFields(ours["SeiNode"], ours["SeiNode"], ""))
}
