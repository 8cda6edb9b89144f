package v1alpha1_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"

	"sei.io/seictl/api/v1alpha1"
)

type tlsConfig = v1alpha1.SidecarTLSConfig

func TestSidecarTLSConfigNormalizeAndString(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   *tlsConfig
		want *tlsConfig
		text string
	}{
		"off":             {in: nil, want: nil, text: ""},
		"defaulted kind":  {in: &tlsConfig{IssuerName: "x"}, want: &tlsConfig{IssuerName: "x", IssuerKind: "ClusterIssuer"}, text: "ClusterIssuer/x"},
		"issuer of kind":  {in: &tlsConfig{IssuerName: "x", IssuerKind: "Issuer"}, want: &tlsConfig{IssuerName: "x", IssuerKind: "Issuer"}, text: "Issuer/x"},
		"provided secret": {in: &tlsConfig{SecretName: "x"}, want: &tlsConfig{SecretName: "x"}, text: "Secret/x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := tc.in.DeepCopy()
			require.Equal(t, tc.want, tc.in.Normalize())
			require.Equal(t, tc.text, tc.in.String())
			require.Equal(t, before, tc.in, "the input must stay as it is")
		})
	}
}

func TestSidecarTLSConfigEqual(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		a, b *tlsConfig
		want bool
	}{
		"both off":            {a: nil, b: nil, want: true},
		"off and on":          {a: nil, b: &tlsConfig{IssuerName: "x"}, want: false},
		"defaulted and named": {a: &tlsConfig{IssuerName: "x"}, b: &tlsConfig{IssuerName: "x", IssuerKind: "ClusterIssuer"}, want: true},
		"other kind":          {a: &tlsConfig{IssuerName: "x"}, b: &tlsConfig{IssuerName: "x", IssuerKind: "Issuer"}, want: false},
		"other issuer":        {a: &tlsConfig{IssuerName: "x"}, b: &tlsConfig{IssuerName: "y"}, want: false},
		"issuer and secret":   {a: &tlsConfig{IssuerName: "x"}, b: &tlsConfig{SecretName: "x"}, want: false},
		"other secret":        {a: &tlsConfig{SecretName: "x"}, b: &tlsConfig{SecretName: "y"}, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, tc.a.Equal(tc.b))
			require.Equal(t, tc.want, tc.b.Equal(tc.a))
		})
	}
}

func TestPlanPreviousTarget(t *testing.T) {
	t.Parallel()
	off := v1alpha1.PlanPrevious{Image: "v1"}
	require.Equal(t, v1alpha1.PlanTarget{Image: "v1"}, off.Target())

	on := v1alpha1.PlanPrevious{Image: "v1", SidecarTLS: &v1alpha1.ObservedSidecarTLS{
		SidecarTLSConfig: tlsConfig{IssuerName: "x"}, FingerprintSHA256: "ab"}}
	require.True(t, on.Target().Equal(v1alpha1.PlanTarget{Image: "v1", SidecarTLS: &tlsConfig{IssuerName: "x"}}))
	require.False(t, on.Target().Equal(off.Target()))
	require.False(t, on.Target().Equal(v1alpha1.PlanTarget{Image: "v2", SidecarTLS: &tlsConfig{IssuerName: "x"}}))
}

func TestNodeMode(t *testing.T) {
	t.Parallel()
	for want, spec := range map[string]v1alpha1.SeiNodeSpec{
		"":                     {},
		v1alpha1.ModeFullNode:  {FullNode: &v1alpha1.FullNodeSpec{}},
		v1alpha1.ModeArchive:   {Archive: &v1alpha1.ArchiveSpec{}},
		v1alpha1.ModeReplayer:  {Replayer: &v1alpha1.ReplayerSpec{}},
		v1alpha1.ModeValidator: {Validator: &v1alpha1.ValidatorSpec{}},
	} {
		require.Equal(t, want, (&v1alpha1.SeiNode{Spec: spec}).Mode())
	}
}

func TestNodeSidecarTLS(t *testing.T) {
	t.Parallel()
	node := &v1alpha1.SeiNode{}
	require.Nil(t, node.SidecarTLS(), "no sidecar")
	node.Spec.Sidecar = &v1alpha1.SidecarConfig{}
	require.Nil(t, node.SidecarTLS(), "no TLS")
	node.Spec.Sidecar.TLS = &tlsConfig{IssuerName: "x"}
	require.Equal(t, "ClusterIssuer/x", node.SidecarTLS().String())
	require.Empty(t, node.Spec.Sidecar.TLS.IssuerKind, "the spec must stay as it is")
}

func TestTLSRemovalAllowed(t *testing.T) {
	t.Parallel()
	node := &v1alpha1.SeiNode{}
	for value, want := range map[string]bool{"true": true, "": false, "yes": false, "false": false} {
		node.Annotations = map[string]string{v1alpha1.AnnotationAllowTLSRemoval: value}
		require.Equal(t, want, node.TLSRemovalAllowed(), value)
	}
}

func TestPlanLookups(t *testing.T) {
	t.Parallel()
	var none *v1alpha1.Plan
	require.False(t, none.Active())
	require.Nil(t, none.Task(v1alpha1.TaskMarkReady))

	plan := &v1alpha1.Plan{Phase: v1alpha1.PlanActive, Tasks: []v1alpha1.Task{{Type: v1alpha1.TaskMarkReady}}}
	require.True(t, plan.Active())
	plan.Task(v1alpha1.TaskMarkReady).Status = v1alpha1.TaskComplete
	require.Equal(t, v1alpha1.TaskComplete, plan.Tasks[0].Status, "a task is returned in place")
	require.Nil(t, plan.Task(v1alpha1.TaskReplacePod))
	plan.Phase = v1alpha1.PlanFailed
	require.False(t, plan.Active())
}

func TestScheme(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	for _, kind := range []string{"SeiNode", "SeiNodeList", "SeiNodeDeployment", "SeiNodeDeploymentList"} {
		require.True(t, scheme.Recognizes(v1alpha1.GroupVersion.WithKind(kind)), kind)
	}
}
