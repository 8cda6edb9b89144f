package lab

import (
	"fmt"
	"os"
)

// containerdConfig keeps containerd in the lab's directory. Pulling is turned
// to a closed port of this machine: nothing is ever fetched from a network.
const containerdConfig = `version = 2
root = "%[1]s/containerd/root"
state = "%[1]s/containerd/state"
temp = "%[1]s/tmp"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing",
]
oom_score = 0
[grpc]
  address = "%[1]s/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[3]s"
    conf_dir = "%[1]s/cni/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "%[1]s/runc"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "%[1]s/containerd/hosts"
`

const containerdHosts = `server = "http://127.0.0.1:1"
[host."http://127.0.0.1:1"]
  capabilities = ["pull", "resolve"]
`

// cniConfig gives pods an address on the bridge. The gateway is set by route
// and not by isGateway, which would turn the whole machine into a router.
const cniConfig = `{
  "cniVersion": "0.4.0",
  "name": "%[1]s",
  "plugins": [{
    "type": "bridge", "bridge": "%[2]s", "isGateway": false, "ipMasq": false, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "dataDir": "%[3]s/cni/ipam",
      "ranges": [[{"subnet": "%[4]s", "rangeStart": "10.244.1.1", "gateway": "%[5]s"}]],
      "routes": [{"dst": "0.0.0.0/0", "gw": "%[5]s"}]
    }
  }]
}
`

// kubeletConfig: periods that only cost time are short, and a full disk of the
// machine evicts nothing.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[2]s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true, cacheTTL: 10s}
  x509: {clientCAFile: %[1]s/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: %[1]s/pki/serving.crt
tlsPrivateKeyFile: %[1]s/pki/serving.key
containerRuntimeEndpoint: unix://%[1]s/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%[3]s
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: [%[4]s]
podLogsDir: %[1]s/pods
volumePluginDir: %[1]s/kubelet/volume-plugins
enforceNodeAllocatable: []
syncFrequency: 5s
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 10s
nodeLeaseDurationSeconds: 10
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", imagefs.inodesFree: "0%%"}
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
maxPods: 250
`

// auditPolicy keeps all that people and the project's own accounts do, reads
// too, and of the system what changes something.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/openapi*", "/version"]
- level: None
  users: &system
  - system:apiserver
  - system:kube-controller-manager
  - system:kube-scheduler
  - system:kube-proxy
  - system:lab:provisioner
  - system:lab:dns
  - system:lab:sim
  - system:serviceaccount:cert-manager:cert-manager
  - system:node:lab
  verbs: [get, list, watch]
- level: None
  users: *system
  resources: &noise
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
  - {group: coordination.k8s.io, resources: [leases]}
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
  resources: *noise
- level: Metadata
`

// writeConfigs writes the components' configuration files.
func (e *Env) writeConfigs() error {
	dirs := []string{"run", "logs", "tmp", "volumes", "etcd"}
	if !e.sim() {
		dirs = append(dirs, "pods", "containerd", "kubelet")
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(e.path(dir), 0o755); err != nil {
			return fmt.Errorf("making the lab's directories: %w", err)
		}
	}
	if e.sim() {
		if err := e.linkBinary(); err != nil {
			return err
		}
		return writeFile(e.path("audit-policy.yaml"), []byte(auditPolicy), 0o644)
	}
	cniBin := "/usr/lib/cni"
	for _, dir := range []string{"/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"} {
		if exeStamp(dir+"/bridge") != "" {
			cniBin = dir
		}
	}
	for _, f := range []struct{ path, content string }{
		{"containerd/config.toml", fmt.Sprintf(containerdConfig, e.Dir, pauseImage, cniBin)},
		{"containerd/hosts/_default/hosts.toml", containerdHosts},
		{"cni/conf/10-lab.conflist", fmt.Sprintf(cniConfig, cniNetwork, Bridge, e.Dir, PodCIDR, BridgeIP)},
		{"kubelet/config.yaml", fmt.Sprintf(kubeletConfig, e.Dir, BridgeIP, CgroupRoot, DNSIP)},
		{"dns/Corefile", e.dnsConfig()},
		{"audit-policy.yaml", auditPolicy},
	} {
		if err := writeFile(e.path(f.path), []byte(f.content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
