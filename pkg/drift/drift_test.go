package drift

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
)

func TestChainOrder(t *testing.T) {
	var names []string
	for _, c := range Chain {
		names = append(names, c.Name)
	}
	require.Equal(t, []string{"image", "sidecarTLS", "removal", "objects", "podTemplate", "config"}, names)

	// Every check is evaluated, whatever those before it found.
	n := settled(issuer("a", ""))
	n.Spec.Image = "seid:v2"
	n.Spec.Sidecar.TLS = issuer("b", "")
	n.Spec.Overrides = map[string]string{"p2p.pex": "false"}
	snap := running(n)
	snap.Service = nil
	snap.StatefulSet.Spec.Template.Labels["extra"] = "x"
	var subjects []string
	for _, f := range evaluate(n, snap, true).Findings {
		subjects = append(subjects, f.Subject)
	}
	require.Equal(t, []string{SubjectImage, SubjectSidecarTLS, SubjectObjects, SubjectPodTemplate, SubjectConfig}, subjects)
}

func TestSidecarTLSMatrix(t *testing.T) {
	spec := []struct {
		name string
		tls  *v1alpha1.SidecarTLSConfig
	}{
		{"off", nil},
		{"issuer a", issuer("a", "")},
		{"ClusterIssuer a", issuer("a", "ClusterIssuer")},
		{"Issuer a", issuer("a", "Issuer")},
		{"issuer b", issuer("b", "")},
		{"secret x", secret("x")},
		{"secret y", secret("y")},
	}
	// Rows are the spec, columns the TLS that runs, both in the order above; X is drift. What runs is normalised by
	// whoever stamps it, and compared as normalised all the same.
	want := map[string]string{
		"off":             ".......",
		"issuer a":        "X..XXXX",
		"ClusterIssuer a": "X..XXXX",
		"Issuer a":        "XXX.XXX",
		"issuer b":        "XXXX.XX",
		"secret x":        "XXXXX.X",
		"secret y":        "XXXXXX.",
	}
	for _, s := range spec {
		for i, current := range spec {
			t.Run(s.name+" in the spec, "+current.name+" running", func(t *testing.T) {
				n := settled(s.tls)
				n.Status.CurrentSidecarTLS = nil
				if current.tls != nil {
					n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *current.tls, FingerprintSHA256: "f9"}
				}
				drifts := want[s.name][i] == 'X'
				require.Equal(t, drifts, SidecarTLS(n))

				r := evaluate(n, nil, false)
				require.Equal(t, drifts, r.Has(v1alpha1.SidecarTLSDrift))
				require.Equal(t, drifts, r.NodeUpdateDue())
				if s.tls != nil {
					require.True(t, r.Target.SidecarTLS.Equal(s.tls))
					require.Equal(t, *s.tls.Normalize(), *r.Target.SidecarTLS, "the target is normalised")
				}
				if !drifts {
					require.Empty(t, r.Findings)
					return
				}
				require.Equal(t, current.tls.String(), r.Findings[0].From)
				require.Equal(t, s.tls.String(), r.Findings[0].To)
			})
		}
	}
	t.Run("no sidecar in the spec at all", func(t *testing.T) {
		n := settled(nil)
		n.Spec.Sidecar = nil
		require.False(t, SidecarTLS(n))
		require.Nil(t, Target(n).SidecarTLS)
	})
}

func TestTargetRemoval(t *testing.T) {
	for name, tc := range map[string]struct {
		running    *v1alpha1.SidecarTLSConfig
		annotation string
		target     *v1alpha1.SidecarTLSConfig
		drifts     bool
		warns      bool
	}{
		"without consent the node keeps TLS":   {issuer("a", ""), "", issuer("a", ""), false, true},
		"any value but true is no consent":     {secret("x"), "yes", secret("x"), false, true},
		"with consent TLS goes":                {issuer("a", ""), "true", nil, true, false},
		"consent and nothing runs":             {nil, "true", nil, false, false},
		"neither runs nor is asked for":        {nil, "", nil, false, false},
		"with consent a provisioned pair goes": {secret("x"), "true", nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := settled(tc.running)
			n.Spec.Sidecar = nil
			if tc.annotation != "" {
				n.Annotations = map[string]string{v1alpha1.AnnotationAllowTLSRemoval: tc.annotation}
			}
			r := evaluate(n, nil, false)
			require.True(t, r.Target.SidecarTLS.Equal(tc.target))
			require.Equal(t, tc.drifts, r.Has(v1alpha1.SidecarTLSDrift))
			require.Equal(t, tc.warns, len(r.Warnings) == 1)
			if tc.warns {
				require.Contains(t, r.Warnings[0], tc.running.String())
				require.Contains(t, r.Warnings[0], "--no-tls")
			}

			// An image update beside it keeps or removes TLS by the same rule.
			n.Spec.Image = "seid:v2"
			r = evaluate(n, nil, false)
			require.True(t, r.Target.SidecarTLS.Equal(tc.target))
			require.Equal(t, "seid:v2", r.Target.Image)
		})
	}
	t.Run("consent means nothing while the spec has TLS", func(t *testing.T) {
		n := settled(issuer("a", ""))
		n.Annotations = map[string]string{v1alpha1.AnnotationAllowTLSRemoval: "true"}
		r := evaluate(n, nil, false)
		require.Empty(t, r.Findings)
		require.True(t, r.Target.SidecarTLS.Equal(issuer("a", "")))
	})
}

func TestCauses(t *testing.T) {
	n := settled(nil)
	n.Spec.Image, n.Spec.Sidecar.TLS = "seid:v2", secret("x")
	r := evaluate(n, nil, false)
	require.Equal(t, []v1alpha1.PlanCause{v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift}, r.Causes())

	n.Status.CurrentImage = ""
	require.Contains(t, evaluate(n, nil, false).Findings[0].Why, "no image was observed running yet")
}
