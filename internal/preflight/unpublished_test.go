package preflight

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fakediscovery "k8s.io/client-go/discovery/fake"
	clienttesting "k8s.io/client-go/testing"

	"sei.io/seictl/api/v1alpha1"
)

// An API server that has just started serves a kind before it publishes its schema.
func TestSchemasThatAreNotPublishedYet(t *testing.T) {
	d := &fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{Resources: []*metav1.APIResourceList{{
		GroupVersion: v1alpha1.GroupVersion.String(), APIResources: []metav1.APIResource{{Name: "seinodes", Kind: "SeiNode"}},
	}}}}
	s := Schemas{Served: map[string]bool{"SeiNode": false, "SeiNodeDeployment": false}}
	s.ask(d)
	require.Equal(t, map[string]bool{"SeiNode": true}, s.Unpublished)

	s = Schemas{Served: map[string]bool{"SeiNode": true, "SeiNodeDeployment": true}}
	s.ask(d)
	require.Nil(t, s.Unpublished)
	s = Schemas{Served: map[string]bool{"SeiNode": false}}
	s.ask(&fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{}})
	require.Empty(t, s.Unpublished, "nothing is served")
}
