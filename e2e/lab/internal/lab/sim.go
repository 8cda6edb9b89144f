package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// simulator plays the kubelets of the sim tier, and holds its fault registry.
const simulator = "labsim"

// simControllers are those that pods, volumes and accounts need. There is no node to watch over, and EndpointSlices
// refuse the addresses of simulated pods.
var simControllers = []string{
	"statefulset-controller", "deployment-controller", "replicaset-controller", "garbage-collector-controller",
	"namespace-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller",
	"clusterrole-aggregation-controller", "disruption-controller", "pod-garbage-collector-controller",
	"persistentvolume-binder-controller", "persistentvolume-protection-controller", "persistentvolumeclaim-protection-controller",
}

// simComponents are those of a cluster of simulated pods: nothing of them needs root, or is seen from elsewhere.
func (e *Env) simComponents() []component {
	return []component{
		e.etcd(),
		// Without endpoints of its own: those may not be of the loopback.
		e.apiServer("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"),
		e.controllerManager("--controllers="+strings.Join(simControllers, ","), fmt.Sprintf("--secure-port=%d", e.ports.controllerManager),
			"--concurrent-statefulset-syncs=20", "--kube-api-qps=1000", "--kube-api-burst=2000"),
		e.scheduler(fmt.Sprintf("--secure-port=%d", e.ports.scheduler), "--kube-api-qps=1000", "--kube-api-burst=2000"),
		{name: simulator, healthy: healthz("http", e.ports.faults, "sim/healthz"), argv: []string{
			e.bin(simulator), e.kubeconfigFlag(simulator), "--faults-file=" + e.path("faults.json"),
			fmt.Sprintf("--address=127.0.0.1:%d", e.ports.faults), fmt.Sprintf("--kubelet-port=%d", e.ports.kubelet),
			"--tls-cert-file=" + e.pki("serving.crt"), "--tls-private-key-file=" + e.pki("serving.key"), "--client-ca-file=" + e.pki("ca.crt"),
			"--seictl=" + e.path("seictl"),
			// About what the stand-in takes in a container: a pod that is Ready at once hides the steps on the way.
			"--start=500ms",
		}},
		e.provisioner(),
		e.certManager(),
	}
}

// linkBinary has the operator's image run the seictl of this command.
func (e *Env) linkBinary() error {
	next := e.path("seictl.next")
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("linking seictl: %w", err)
	}
	bin, err := filepath.Abs(e.Bin)
	if err != nil {
		return fmt.Errorf("linking seictl: %w", err)
	}
	if err := os.Symlink(bin, next); err != nil {
		return fmt.Errorf("linking seictl: %w", err)
	}
	if err := os.Rename(next, e.path("seictl")); err != nil {
		return fmt.Errorf("linking seictl: %w", err)
	}
	return nil
}
