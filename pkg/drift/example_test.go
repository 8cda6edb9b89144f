package drift_test

import (
	"fmt"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/settings"
)

// A node runs v1 without TLS; its spec asks for v2 and for TLS.
func ExampleEvaluate() {
	node := &v1alpha1.SeiNode{
		Spec: v1alpha1.SeiNodeSpec{
			ChainID: "arctic-1", Image: "seid:v2", FullNode: &v1alpha1.FullNodeSpec{},
			Sidecar: &v1alpha1.SidecarConfig{TLS: &v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"}},
		},
		Status: v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseRunning, CurrentImage: "seid:v1"},
	}
	platform := settings.Default()
	report := drift.Evaluate(drift.Input{Node: node, Settings: &platform})
	for _, f := range report.Findings {
		fmt.Printf("%s: %q, wanted %q\n", f.Subject, f.From, f.To)
	}
	fmt.Println("an update is due:", report.NodeUpdateDue())
	// Output:
	// image: "seid:v1", wanted "seid:v2"
	// sidecarTLS: "", wanted "ClusterIssuer/arctic-1-ca"
	// an update is due: true
}

// A revert of a manifest takes TLS out of the spec: nothing drifts until somebody consents.
func ExampleTLSRemoval() {
	node := &v1alpha1.SeiNode{Status: v1alpha1.SeiNodeStatus{
		CurrentSidecarTLS: &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: v1alpha1.SidecarTLSConfig{IssuerName: "arctic-1-ca"}},
	}}
	wanted, allowed := drift.TLSRemoval(node)
	fmt.Println(wanted, allowed)
	node.Annotations = map[string]string{v1alpha1.AnnotationAllowTLSRemoval: "true"}
	wanted, allowed = drift.TLSRemoval(node)
	fmt.Println(wanted, allowed)
	// Output:
	// true false
	// true true
}
