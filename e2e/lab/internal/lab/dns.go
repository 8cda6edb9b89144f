package lab

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"
)

// clusterDNS is the component that tells pods the addresses of Services.
const clusterDNS = "coredns"

// dnsObjects let pods ask at the address that kubelet gives them, and the server read what it answers from.
const dnsObjects = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:lab:dns"}
rules:
- {apiGroups: [""], resources: [services, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:lab:dns"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:lab:dns"}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:lab:dns"}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: %[1]s
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53, protocol: TCP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {kubernetes.io/service-name: kube-dns, endpointslice.kubernetes.io/managed-by: seictl-lab}
addressType: IPv4
endpoints:
- addresses: [%[2]s]
  conditions: {ready: true}
ports:
- {name: dns, port: 53, protocol: UDP}
- {name: dns-tcp, port: 53, protocol: TCP}
`

// corefile answers on the bridge alone, from the API server alone. Whatever is not of the cluster does not exist: a refusal
// would have resolvers say that the server is at fault.
const corefile = `cluster.local {
	bind %[1]s
	errors
	kubernetes {
		kubeconfig %[2]s lab
	}
}
. {
	bind %[1]s
	errors
	template ANY ANY {
		rcode NXDOMAIN
	}
}
`

// dns runs on the host, like all of the lab.
func (e *Env) dns() component {
	return component{name: clusterDNS, healthy: resolves(net.JoinHostPort(BridgeIP, "53")), argv: []string{
		e.bin(clusterDNS), "-conf=" + e.path("dns", "Corefile"),
	}}
}

// dnsConfig is the content of its Corefile.
func (e *Env) dnsConfig() string {
	return fmt.Sprintf(corefile, BridgeIP, e.pki(clusterDNS+".kubeconfig"))
}

// resolves is healthy when the name server at the address knows the one Service that every cluster has.
func resolves(server string) func(context.Context, *Env) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}}
	return func(ctx context.Context, _ *Env) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		addresses, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
		if err != nil {
			return fmt.Errorf("asking for its health: %w", err)
		}
		if !slices.Equal(addresses, []string{ServiceIP}) {
			return fmt.Errorf("it says that the API server is at %v, not %s", addresses, ServiceIP)
		}
		return nil
	}
}

// setUpDNS gives the cluster DNS its address and its rights.
func (e *Env) setUpDNS() error {
	objects := fmt.Sprintf(dnsObjects, DNSIP, BridgeIP)
	if e.sim() || e.done(clusterDNS, objects) {
		return nil
	}
	if err := e.step("cluster DNS", func() error { return e.apply(objects, "-f", "-") }); err != nil {
		return err
	}
	return e.markDone(clusterDNS, objects)
}
