package node

import (
	"context"
	"fmt"
	"os"

	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// observeObjects reads what is in the cluster of a node, as a pass of the engine does.
func (r *resolver) observeObjects(ctx context.Context, t *target, s settings.Settings) (*drift.Snapshot, error) {
	c, err := r.f.Cluster()
	if err != nil {
		return nil, err
	}
	connector, err := sidecars(c, inCluster())
	if err != nil {
		return nil, err
	}
	e := engine.New(engine.Options{
		Client: c.Client, Live: c.Client, Sidecar: connector, Now: r.f.Now,
		Settings: func() settings.Settings { return s },
	})
	snapshot, err := e.Observe(ctx, t.node)
	if err != nil {
		return nil, c.Explain(err, "read", "the objects of SeiNode "+t.node.Name, t.node.Namespace, "")
	}
	return snapshot, nil
}

// sidecars opens connections to sidecars: by port-forward from outside the cluster.
func sidecars(c *factory.Cluster, direct bool) (*sidecar.Connector, error) {
	connector, err := operator.NewConnector(c.Config, !direct)
	if err != nil {
		return nil, fmt.Errorf("preparing connections to sidecars: %w", err)
	}
	return connector, nil
}

// inCluster says whether this process runs in a pod, where pods are reached by their addresses.
func inCluster() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }
