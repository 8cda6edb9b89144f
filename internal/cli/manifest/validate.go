package manifest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"sei.io/seictl/api/v1alpha1"
)

const (
	maxNodeName       = 52
	maxDeploymentName = 47
)

var (
	dns1035    = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	chainID    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	percentage = regexp.MustCompile(`^([1-9][0-9]?|100)%$`)
	takenPorts = []int32{8443, 26656, 26657, 8545, 8546, 9090, 1317}
)

// problems collects what is wrong.
type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// ValidateNode checks a node by the rules of its CRD, as far as one object alone can break them.
func ValidateNode(node *v1alpha1.SeiNode) []string {
	var p problems
	p.name(node.Name, maxNodeName, "it becomes the name of the StatefulSet, its pod and their labels")
	p.namespace(node.Namespace)
	p.spec("spec", &node.Spec)
	if tls := node.SidecarTLS(); tls != nil && node.Name != "" && tls.SecretName == node.Name+"-sidecar-tls" {
		p.add("spec.sidecar.tls.secretName: found %q, which is the name of the Secret that seictl has issued: "+
			"name the Secret that you provision differently", tls.SecretName)
	}
	return p
}

// ValidateDeployment checks a SeiNodeDeployment likewise.
func ValidateDeployment(d *v1alpha1.SeiNodeDeployment) []string {
	var p problems
	p.name(d.Name, maxDeploymentName, "with an ordinal it becomes the name of a SeiNode")
	p.namespace(d.Namespace)
	if d.Spec.Replicas < 0 || d.Spec.Replicas > 9999 {
		p.add("spec.replicas: found %d, wanted a number from 0 to 9999", d.Spec.Replicas)
	}
	if v := d.Spec.Template.Spec.DataVolume; v != nil && v.Import != nil && d.Spec.Replicas > 1 {
		p.add("spec.replicas: found %d, wanted at most 1: the template imports the volume %q, and two seid on one volume corrupt it",
			d.Spec.Replicas, v.Import.PVCName)
	}
	if t := d.Spec.UpdateStrategy.Type; t != "" && t != "InPlace" {
		p.add("spec.updateStrategy.type: found %q, wanted InPlace", t)
	}
	p.maxUnavailable(d.Spec.UpdateStrategy.MaxUnavailable)
	p.spec("spec.template.spec", &d.Spec.Template.Spec)
	return p
}

// defaultDeployment fills in what the API server would.
func defaultDeployment(raw []byte, d *v1alpha1.SeiNodeDeployment) {
	var given struct {
		Spec struct {
			Replicas *int32 `json:"replicas"`
		} `json:"spec"`
	}
	if json.Unmarshal(raw, &given) == nil && given.Spec.Replicas == nil {
		d.Spec.Replicas = 1
	}
}

func (p *problems) name(name string, limit int, why string) {
	switch {
	case name == "":
		p.add("metadata.name: missing")
	case !dns1035.MatchString(name) || len(name) > limit:
		p.add("metadata.name: found %q (%d characters), wanted lower-case letters, digits and '-', starting with a letter, "+
			"at most %d characters: %s", name, len(name), limit, why)
	}
}

func (p *problems) namespace(namespace string) {
	if namespace != "" && len(validation.IsDNS1123Label(namespace)) > 0 {
		p.add("metadata.namespace: found %q, wanted lower-case letters, digits and '-'", namespace)
	}
}

func (p *problems) maxUnavailable(v *intstr.IntOrString) {
	if v == nil || (v.Type == intstr.Int && v.IntVal >= 1) || (v.Type == intstr.String && percentage.MatchString(v.StrVal)) {
		return
	}
	p.add("spec.updateStrategy.maxUnavailable: found %s, wanted a number of at least 1 or a percentage from 1%% to 100%%", v)
}

func (p *problems) spec(at string, spec *v1alpha1.SeiNodeSpec) {
	switch {
	case spec.ChainID == "":
		p.add("%s.chainId: missing, wanted the chain, for example arctic-1", at)
	case !chainID.MatchString(spec.ChainID) || len(spec.ChainID) > 63:
		p.add("%s.chainId: found %q, wanted lower-case letters, digits and '-', at most 63 characters", at, spec.ChainID)
	}
	switch {
	case spec.Image == "":
		p.add("%s.image: missing, wanted the image of seid", at)
	case len(spec.Image) > 512:
		p.add("%s.image: found %d characters, wanted at most 512", at, len(spec.Image))
	}
	p.mode(at, spec)
	for _, k := range sortedLabels(spec.PodLabels) {
		if strings.HasPrefix(k, "sei.io/") {
			p.add("%s.podLabels: found %q, wanted labels outside sei.io/: those belong to seictl", at, k)
		}
	}
	if v := spec.DataVolume; v != nil && v.Import != nil && v.Import.PVCName == "" {
		p.add("%s.dataVolume.import.pvcName: missing", at)
	}
	for i := range spec.Peers {
		p.peer(fmt.Sprintf("%s.peers[%d]", at, i), &spec.Peers[i])
	}
	if spec.Sidecar != nil {
		p.sidecar(at+".sidecar", spec.Sidecar)
	}
}

func (p *problems) mode(at string, spec *v1alpha1.SeiNodeSpec) {
	var found []string
	for _, m := range []struct {
		name string
		set  bool
	}{
		{v1alpha1.ModeFullNode, spec.FullNode != nil},
		{v1alpha1.ModeArchive, spec.Archive != nil},
		{v1alpha1.ModeReplayer, spec.Replayer != nil},
		{v1alpha1.ModeValidator, spec.Validator != nil},
	} {
		if m.set {
			found = append(found, m.name)
		}
	}
	switch len(found) {
	case 1:
	case 0:
		p.add("%s: found no mode, wanted exactly one of fullNode, archive, replayer and validator (for example 'fullNode: {}')", at)
	default:
		p.add("%s: found the modes %s, wanted exactly one", at, strings.Join(found, " and "))
	}
}

func (p *problems) peer(at string, peer *v1alpha1.PeerSource) {
	switch {
	case (peer.Static != nil) == (peer.Label != nil):
		p.add("%s: wanted exactly one of static and label", at)
	case peer.Static != nil && len(peer.Static.Addresses) == 0:
		p.add("%s.static.addresses: empty, wanted <node id>@<host>:<port>", at)
	case peer.Label != nil && len(peer.Label.Selector) == 0:
		p.add("%s.label.selector: empty, wanted at least one label", at)
	}
}

func (p *problems) sidecar(at string, s *v1alpha1.SidecarConfig) {
	switch {
	case s.Port != 0 && (s.Port < 1024 || s.Port > 65535):
		p.add("%s.port: found %d, wanted 1024 to 65535", at, s.Port)
	case slices.Contains(takenPorts, s.Port):
		p.add("%s.port: found %d, which another container of the pod uses: leave it out for 7777", at, s.Port)
	}
	if s.TLS != nil {
		p.tls(at+".tls", s.TLS)
	}
}

func (p *problems) tls(at string, tls *v1alpha1.SidecarTLSConfig) {
	switch {
	case tls.IssuerName != "" && tls.SecretName != "":
		p.add("%s: found issuerName %q and secretName %q, wanted exactly one of the two", at, tls.IssuerName, tls.SecretName)
	case tls.IssuerName == "" && tls.SecretName == "":
		p.add("%s: found neither issuerName nor secretName, wanted exactly one of the two", at)
	case tls.SecretName != "" && tls.IssuerKind != "":
		p.add("%s.issuerKind: found %q beside secretName %q, wanted it beside issuerName only", at, tls.IssuerKind, tls.SecretName)
	}
	switch tls.IssuerKind {
	case "", v1alpha1.IssuerKindClusterIssuer, v1alpha1.IssuerKindIssuer:
	default:
		p.add("%s.issuerKind: found %q, wanted ClusterIssuer or Issuer", at, tls.IssuerKind)
	}
	p.objectName(at+".issuerName", tls.IssuerName)
	p.objectName(at+".secretName", tls.SecretName)
}

func (p *problems) objectName(at, name string) {
	if name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
		p.add("%s: found %q, wanted the name of a Kubernetes object", at, name)
	}
}

func sortedLabels(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ValidateChange checks what is immutable.
func ValidateChange(before, after *v1alpha1.SeiNodeSpec) []string {
	var p problems
	a, b := &v1alpha1.SeiNode{Spec: *before}, &v1alpha1.SeiNode{Spec: *after}
	if before.ChainID != after.ChainID {
		p.add("spec.chainId: found %q, wanted %q as in the cluster: it is immutable", after.ChainID, before.ChainID)
	}
	if a.Mode() != b.Mode() {
		p.add("spec: found the mode %s, wanted %s as in the cluster: it is immutable, create another node for another mode", b.Mode(), a.Mode())
	}
	if volume(before) != volume(after) {
		p.add("spec.dataVolume.import.pvcName: found %q, wanted %q as in the cluster: it is immutable", volume(after), volume(before))
	}
	return p
}

func volume(spec *v1alpha1.SeiNodeSpec) string {
	if v := spec.DataVolume; v != nil && v.Import != nil {
		return v.Import.PVCName
	}
	return ""
}
