//go:build e2e

package e2e

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// catalogue is how rollouts go wrong in real fleets, numbered from one.
var catalogue = []string{
	"the issuer does not exist",
	"Issuer and ClusterIssuer are mixed up",
	"the issuer is not Ready",
	"the Secret of the CA is missing",
	"the request is denied",
	"nobody approves the request",
	"cert-manager's CRDs are absent",
	"cert-manager's webhook is down",
	"an issuer is swapped while the old pair is still there",
	"observedGeneration is stale",
	"a Secret without cert-manager's annotations is adopted",
	"a Secret is left over from an earlier enable",
	"somebody else's Certificate has the node's name",
	"two Certificates write one Secret",
	"the Secret is of the wrong type, empty, or its key does not match",
	"the SANs lack a name",
	"the certificate has expired or is not valid yet",
	"the Secret is deleted while the node runs",
	"the Secret goes between the gate and the delete",
	"RBAC denies reading the Secret",
	"TLS is enabled, disabled and enabled again",
	"the StatefulSet has another number of replicas, or another owner",
	"the pod is evicted in mid-plan and comes back new",
	"the driver crashes after the delete",
	"the pod is stuck Terminating",
	"a parent controller reverts the spec",
	"GitOps reverts the spec after success",
	"another controller forces the StatefulSet",
	"a removal leaves the proxy behind",
	"cleanup comes before the pod is gone",
	"the proxy's image is not set or cannot be pulled",
	"the proxy may not review tokens or access",
	"a proxy that crashes keeps seid from starting",
	"port 8443 answers without TLS, or with another leaf",
	"the spec is edited in mid-plan, before and after the pod cycle",
	"two drivers at once",
	"many nodes share a bad issuer",
	"the node is paused",
	"the API server is away in mid-rollout",
	"seid has not caught up",
}

// Every way in which a rollout goes wrong has a scenario.
func TestCatalogueIsCovered(t *testing.T) {
	covered := make([][]string, len(catalogue))
	for _, sc := range rows() {
		for _, n := range sc.Catalogue {
			require.True(t, n >= 1 && n <= len(catalogue), "scenario %s names entry %d of the catalogue", sc.Name, n)
			covered[n-1] = append(covered[n-1], sc.Name)
		}
	}
	for i, names := range covered {
		require.NotEmpty(t, names, "no scenario for %d, %s", i+1, catalogue[i])
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(names))), len(names), "entry %d is named twice by one of %v", i+1, names)
	}
}
