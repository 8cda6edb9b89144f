package engine_test

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/settings"
)

// One pass over a node that was just created: its plan is written before the first task runs.
func ExampleEngine_Pass() {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme, cmv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	node := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "ax-0", UID: "3f1c"},
		Spec:       v1alpha1.SeiNodeSpec{ChainID: "arctic-1", Image: "seid:v1", FullNode: &v1alpha1.FullNodeSpec{}},
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(node).WithObjects(node).Build()
	platform := settings.Default()
	platform.SidecarImage = "sidecar:v1"

	e := engine.New(engine.Options{Client: c, Live: c, Settings: func() settings.Settings { return platform }})
	out, err := e.Pass(context.Background(), node)
	if err != nil {
		panic(err)
	}
	fmt.Println(out.Node.Status.Phase, out.Node.Status.Plan.Kind, "written:", out.Changed)
	for _, t := range out.Node.Status.Plan.Tasks[:3] {
		fmt.Println(t.Type, t.Status)
	}
	fmt.Println("again at once:", out.RequeueAfter == engine.Immediately)
	// Output:
	// Initializing NodeInit written: true
	// ensure-data-pvc Pending
	// apply-statefulset Pending
	// apply-service Pending
	// again at once: true
}
