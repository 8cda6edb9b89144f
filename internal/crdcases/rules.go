package crdcases

import "slices"

// All returns every case.
func All() []Case {
	return slices.Concat(names, modes, immutable, sidecarTLS, fields, deployments)
}

const (
	badName   = "DNS-1035"
	oneMode   = "exactly one mode is required"
	keepMode  = "the mode is immutable"
	keepVol   = "dataVolume is immutable"
	oneSource = "exactly one of issuerName and secretName"
	reserved  = "that is the name of the Secret that seictl has issued"
	oneVolume = "allows at most one replica"
	badWidth  = "maxUnavailable must be"
)

var names = []Case{
	{Name: "smallest node", Kind: Node},
	{Name: "name of 52 characters", Kind: Node, Create: named(long[:52])},
	{Name: "name of 53 characters", Kind: Node, Create: named(long), Reject: badName},
	{Name: "name starts with a digit", Kind: Node, Create: named("0ax"), Reject: badName},
	{Name: "name with a dot", Kind: Node, Create: named("ax.0"), Reject: badName},
	{Name: "smallest deployment", Kind: Deployment},
	{Name: "deployment name of 47 characters", Kind: Deployment, Create: named(long[:47])},
	{Name: "deployment name of 48 characters", Kind: Deployment, Create: named(long[:48]), Reject: badName},
	{Name: "deployment name with a dot", Kind: Deployment, Create: named("a.x"), Reject: badName},
}

var modes = []Case{
	{Name: "archive", Kind: Node, Create: `spec: {fullNode: null, archive: {}}`},
	{Name: "replayer", Kind: Node, Create: `spec: {fullNode: null, replayer: {}}`},
	{Name: "validator", Kind: Node, Create: `spec: {fullNode: null, validator: {}}`},
	{Name: "no mode", Kind: Node, Create: `spec: {fullNode: null}`, Reject: oneMode},
	{Name: "two modes", Kind: Node, Create: `spec: {validator: {}}`, Reject: oneMode},
	{Name: "no mode in a template", Kind: Deployment, Create: `spec: {template: {spec: {fullNode: null}}}`, Reject: oneMode},
}

var immutable = []Case{
	{Name: "image changes", Kind: Node, Update: `spec: {image: "lab.invalid/seid:v2"}`},
	{Name: "chainId changes", Kind: Node, Update: `spec: {chainId: pacific-1}`, Reject: "chainId is immutable"},
	{Name: "mode changes", Kind: Node, Update: `spec: {fullNode: null, archive: {}}`, Reject: keepMode},
	{Name: "dataVolume stays", Kind: Node, Create: `spec: {dataVolume: {import: {pvcName: old}}}`,
		Update: `spec: {image: "lab.invalid/seid:v2"}`},
	{Name: "dataVolume is added", Kind: Node, Update: `spec: {dataVolume: {import: {pvcName: old}}}`, Reject: keepVol},
	{Name: "dataVolume changes", Kind: Node, Create: `spec: {dataVolume: {import: {pvcName: old}}}`,
		Update: `spec: {dataVolume: {import: {pvcName: new}}}`, Reject: keepVol},
	{Name: "dataVolume is removed", Kind: Node, Create: `spec: {dataVolume: {import: {pvcName: old}}}`,
		Update: `spec: {dataVolume: null}`, Reject: keepVol},
	{Name: "chainId of a template changes", Kind: Deployment, Update: `spec: {template: {spec: {chainId: pacific-1}}}`,
		Reject: "chainId is immutable"},
}

var sidecarTLS = []Case{
	{Name: "issuer", Kind: Node, Create: tls(`issuerName: arctic-1-ca`)},
	{Name: "issuer with kind ClusterIssuer", Kind: Node, Create: tls(`issuerName: ca, issuerKind: ClusterIssuer`)},
	{Name: "issuer with kind Issuer", Kind: Node, Create: tls(`issuerName: ca, issuerKind: Issuer`)},
	{Name: "issuer of an unknown kind", Kind: Node, Create: tls(`issuerName: ca, issuerKind: VaultIssuer`),
		Reject: "Unsupported value"},
	{Name: "secret", Kind: Node, Create: tls(`secretName: ours`)},
	{Name: "issuer and secret", Kind: Node, Create: tls(`issuerName: ca, secretName: ours`), Reject: oneSource},
	{Name: "neither issuer nor secret", Kind: Node, Create: tls(``), Reject: oneSource},
	{Name: "issuerKind alone", Kind: Node, Create: tls(`issuerKind: Issuer`), Reject: oneSource},
	{Name: "issuerKind beside secret", Kind: Node, Create: tls(`secretName: ours, issuerKind: Issuer`),
		Reject: "issuerKind does not go with secretName"},
	{Name: "empty issuer", Kind: Node, Create: tls(`issuerName: ""`), Reject: "should be at least 1 chars long"},
	{Name: "secret with the name of the issued one", Kind: Node, Create: tls(`secretName: ax-0-sidecar-tls`), Reject: reserved},
	{Name: "secret with the name of another node's", Kind: Node, Create: tls(`secretName: ax-1-sidecar-tls`)},
	{Name: "tls is added to a node", Kind: Node, Update: tls(`issuerName: ca`)},
	{Name: "issuer becomes secret", Kind: Node, Create: tls(`issuerName: ca`), Update: tls(`issuerName: null, secretName: ours`)},
	{Name: "secret beside the issuer in an update", Kind: Node, Create: tls(`issuerName: ca`), Update: tls(`secretName: ours`),
		Reject: oneSource},
	{Name: "tls is removed", Kind: Node, Create: tls(`issuerName: ca`), Update: `spec: {sidecar: {tls: null}}`},
	{Name: "issuer and secret in a template", Kind: Deployment,
		Create: `spec: {template: {spec: {sidecar: {tls: {issuerName: ca, secretName: ours}}}}}`, Reject: oneSource},
}

var fields = []Case{
	{Name: "all of the spec", Kind: Node, Create: `
spec:
  overrides: {p2p.max_num_inbound_peers: "40"}
  podLabels: {team: chain, example.com/tier: gold}
  dataVolume: {import: {pvcName: old}}
  peers:
  - static: {addresses: ["0123abcd@ax-1:26656"]}
  - label: {selector: {sei.io/chain: arctic-1}, namespace: other}
  sidecar:
    image: lab.invalid/sei-sidecar:v1
    port: 7778
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 1, memory: 1Gi}}
  paused: true`},
	{Name: "no chainId", Kind: Node, Create: `spec: {chainId: null}`, Reject: "spec.chainId"},
	{Name: "empty image", Kind: Node, Create: `spec: {image: ""}`, Reject: "spec.image"},
	{Name: "chainId that is no label", Kind: Node, Create: `spec: {chainId: "Arctic 1"}`, Reject: "spec.chainId"},
	{Name: "override that is no string", Kind: Node, Create: `spec: {overrides: {a: 1}}`, Reject: "spec.overrides.a"},
	{Name: "reserved pod label", Kind: Node, Create: `spec: {podLabels: {sei.io/node: x}}`, Reject: "podLabels must not use the prefix"},
	{Name: "port of another container", Kind: Node, Create: `spec: {sidecar: {port: 8443}}`, Reject: "sidecar.port is taken"},
	{Name: "privileged port", Kind: Node, Create: `spec: {sidecar: {port: 80}}`, Reject: "spec.sidecar.port"},
	{Name: "peer source of two kinds", Kind: Node,
		Create: `spec: {peers: [{static: {addresses: [a]}, label: {selector: {a: b}}}]}`, Reject: "exactly one of static and label"},
	{Name: "peer source of no kind", Kind: Node, Create: `spec: {peers: [{}]}`, Reject: "exactly one of static and label"},
	{Name: "quantity that is none", Kind: Node, Create: `spec: {sidecar: {resources: {limits: {cpu: much}}}}`,
		Reject: "spec.sidecar.resources.limits.cpu"},
	{Name: "unknown field", Kind: Node, Create: `spec: {sidecar: {tsl: {issuerName: ca}}}`, Reject: `unknown field "spec.sidecar.tsl"`},
	{Name: "unknown field in a mode", Kind: Node, Create: `spec: {fullNode: {prune: true}}`,
		Reject: `unknown field "spec.fullNode.prune"`},
	{Name: "unknown field in a template", Kind: Deployment, Create: `spec: {template: {spec: {mode: full}}}`,
		Reject: `unknown field "spec.template.spec.mode"`},
}

var deployments = []Case{
	{Name: "no replicas", Kind: Deployment, Create: `spec: {replicas: 0}`},
	{Name: "negative replicas", Kind: Deployment, Create: `spec: {replicas: -1}`, Reject: "spec.replicas"},
	{Name: "import with the default of one replica", Kind: Deployment,
		Create: `spec: {template: {spec: {dataVolume: {import: {pvcName: old}}}}}`},
	{Name: "import with two replicas", Kind: Deployment,
		Create: `spec: {replicas: 2, template: {spec: {dataVolume: {import: {pvcName: old}}}}}`, Reject: oneVolume},
	{Name: "import scaled to two", Kind: Deployment,
		Create: `spec: {replicas: 1, template: {spec: {dataVolume: {import: {pvcName: old}}}}}`,
		Update: `spec: {replicas: 2}`, Reject: oneVolume},
	{Name: "maxUnavailable number", Kind: Deployment, Create: `spec: {updateStrategy: {maxUnavailable: 3}}`},
	{Name: "maxUnavailable percentage", Kind: Deployment, Create: `spec: {updateStrategy: {maxUnavailable: 25%}}`},
	{Name: "maxUnavailable zero", Kind: Deployment, Create: `spec: {updateStrategy: {maxUnavailable: 0}}`, Reject: badWidth},
	{Name: "maxUnavailable over 100%", Kind: Deployment, Create: `spec: {updateStrategy: {maxUnavailable: 101%}}`, Reject: badWidth},
	{Name: "maxUnavailable word", Kind: Deployment, Create: `spec: {updateStrategy: {maxUnavailable: all}}`, Reject: badWidth},
	{Name: "unknown strategy", Kind: Deployment, Create: `spec: {updateStrategy: {type: Recreate}}`, Reject: "Unsupported value"},
	{Name: "consent for children", Kind: Deployment,
		Create: `spec: {template: {metadata: {annotations: {sei.io/allow-sidecar-tls-removal: "true"}, labels: {a: b}}}}`},
}
