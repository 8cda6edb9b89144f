//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"regexp"
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

// namedByGates are the lists of scenarios in hack/mutate/gates.go.
var (
	namedByGates = regexp.MustCompile(`scenarios: \[\]string\{([^}]*)\}`)
	quoted       = regexp.MustCompile(`"([^"]+)"`)
)

// What gates a change has a scenario of every entry, all that rollouts over fleets do, and those that stand for the safety
// gates of the engine.
func TestCatalogueIsGated(t *testing.T) {
	gated, covered := map[string]bool{}, map[int]bool{}
	for _, sc := range scenarios() {
		require.Contains(t, []string{"", tierReal, tierSim}, sc.Gate, sc.Name)
		require.False(t, sc.Gate == tierSim && sc.Kubelet != "", "scenario %s needs a kubelet", sc.Name)
		gated[sc.Name] = sc.Gate != ""
		for _, n := range sc.Catalogue {
			covered[n] = covered[n] || sc.Gate != ""
		}
	}
	for i, what := range catalogue {
		require.True(t, covered[i+1], "no scenario for %d, %s, gates a change", i+1, what)
	}
	for _, sc := range fleets {
		require.True(t, gated[sc.Name], "scenario %s does not gate a change", sc.Name)
	}
	for _, sc := range operators {
		require.Empty(t, sc.Gate, "scenario %s runs in TestOperator", sc.Name)
	}
	source, err := os.ReadFile("../hack/mutate/gates.go")
	require.NoError(t, err)
	lists := namedByGates.FindAllSubmatch(source, -1)
	require.NotEmpty(t, lists)
	for _, list := range lists {
		for _, name := range quoted.FindAllSubmatch(list[1], -1) {
			require.True(t, gated[string(name[1])], "scenario %s stands for a safety gate and does not gate a change", name[1])
		}
	}
}

// A filter with a typing error fails, and is named.
func TestFilterThatMatchesNothing(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^NoSuchTest$").CombinedOutput()
	require.Error(t, err, "%s", out)
	require.Contains(t, string(out), "-run ^NoSuchTest$ matches no test")
}
