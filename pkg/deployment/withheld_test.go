package deployment_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

// A rollout withholds the template from all children but those whose turn has come; the last write lets everybody have it.
func TestWithheld(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		annotation string
		want       []string
		reason     string
	}{
		"the canary alone":         {"1,2", []string{"ax-0"}, v1alpha1.ReasonRollingOut},
		"the one in the middle":    {" 0 , 2", []string{"ax-1"}, v1alpha1.ReasonRollingOut},
		"nobody":                   {"0,1,2", nil, v1alpha1.ReasonRolloutWithheld},
		"everybody, one at a time": {"", []string{"ax-0"}, v1alpha1.ReasonRollingOut},
		"no list":                  {"all", []string{"ax-0"}, v1alpha1.ReasonRollingOut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := snd(3, image("seid:v2"))
			d.Annotations = map[string]string{v1alpha1.AnnotationTemplateWithheld: tc.annotation}
			r := evaluate(d, child(0), child(1), child(2))
			var got []string
			for _, a := range r.Actions {
				require.Equal(t, deployment.Update, a.Type)
				got = append(got, a.Node.Name)
			}
			require.Equal(t, tc.want, got)
			require.Equal(t, v1alpha1.DeploymentProgressing, r.Status.Phase)
			require.Zero(t, r.Status.UpdatedReplicas)
			for _, c := range r.Status.Conditions {
				if c.Type == v1alpha1.ConditionReady {
					require.Equal(t, tc.reason, c.Reason)
				}
			}
		})
	}
}
