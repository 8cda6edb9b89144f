package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
)

// Kinds of object that a rollout edits.
const (
	KindNode       = "SeiNode"
	KindDeployment = "SeiNodeDeployment"
)

// Object names an object that a rollout edits: a node, or the SeiNodeDeployment that stamps nodes out.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Key is namespace and name.
func (o Object) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
}

func (o Object) String() string {
	if o.Kind == KindDeployment {
		return "snd " + o.Namespace + "/" + o.Name
	}
	return o.Namespace + "/" + o.Name
}

// field of the object that holds its TLS.
func (o Object) field() string {
	if o.Kind == KindDeployment {
		return "spec.template.spec.sidecar.tls"
	}
	return "spec.sidecar.tls"
}

// Resource is the object as kubectl names it.
func (o Object) Resource() string { return strings.ToLower(o.Kind) + "/" + o.Name }

// OwnerOf is the object to edit for a node: its SeiNodeDeployment, or itself. foreign names an owner of another kind, which
// seictl does not know how to edit.
func OwnerOf(n *v1alpha1.SeiNode) (o Object, foreign string) {
	owner := metav1.GetControllerOf(n)
	switch {
	case owner == nil:
		return Object{Kind: KindNode, Namespace: n.Namespace, Name: n.Name}, ""
	case owner.Kind == KindDeployment && strings.HasPrefix(owner.APIVersion, v1alpha1.GroupVersion.Group+"/"):
		return Object{Kind: KindDeployment, Namespace: n.Namespace, Name: owner.Name}, ""
	}
	return Object{Kind: KindNode, Namespace: n.Namespace, Name: n.Name}, owner.Kind + " " + owner.Name
}

// Edit is what a rollout writes into an object.
type Edit struct {
	// TLS to set; nil turns it off.
	TLS *v1alpha1.SidecarTLSConfig
	// Consent to the removal of running TLS; otherwise the consent is taken away.
	Consent bool
	// Withheld are the ordinals of children that do not get the template yet.
	Withheld []int
}

// TLSOf is the TLS that an object asks for, normalised; nil when off.
func TLSOf(spec *v1alpha1.SeiNodeSpec) *v1alpha1.SidecarTLSConfig {
	if spec.Sidecar == nil {
		return nil
	}
	return spec.Sidecar.TLS.Normalize()
}

func setTLS(spec *v1alpha1.SeiNodeSpec, tls *v1alpha1.SidecarTLSConfig) {
	switch {
	case tls.Equal(TLSOf(spec)):
		// What is the same needs no write: an issuer kind that was left out is ClusterIssuer.
	case tls != nil:
		if spec.Sidecar == nil {
			spec.Sidecar = &v1alpha1.SidecarConfig{}
		}
		spec.Sidecar.TLS = tls.DeepCopy()
	default:
		spec.Sidecar.TLS = nil
		if *spec.Sidecar == (v1alpha1.SidecarConfig{}) {
			spec.Sidecar = nil
		}
	}
}

func setConsent(annotations map[string]string, consent bool) map[string]string {
	return setAnnotation(annotations, v1alpha1.AnnotationAllowTLSRemoval, map[bool]string{true: "true"}[consent])
}

// setAnnotation sets an annotation on a copy; an empty value takes it away.
func setAnnotation(annotations map[string]string, key, value string) map[string]string {
	if annotations[key] == value {
		return annotations
	}
	out := maps.Clone(annotations)
	if value == "" {
		delete(out, key)
		return out
	}
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}

// EditNode is a node with the edit.
func EditNode(n *v1alpha1.SeiNode, e Edit) *v1alpha1.SeiNode {
	out := n.DeepCopy()
	setTLS(&out.Spec, e.TLS)
	out.Annotations = setConsent(out.Annotations, e.Consent)
	return out
}

// EditDeployment is a SeiNodeDeployment with the edit in its template. It is one object, so one write: no child gets the
// template before it is withheld from the others.
func EditDeployment(d *v1alpha1.SeiNodeDeployment, e Edit) *v1alpha1.SeiNodeDeployment {
	out := d.DeepCopy()
	setTLS(&out.Spec.Template.Spec, e.TLS)
	out.Spec.Template.Metadata.Annotations = setConsent(out.Spec.Template.Metadata.Annotations, e.Consent)
	out.Annotations = setAnnotation(out.Annotations, v1alpha1.AnnotationTemplateWithheld, ordinals(e.Withheld))
	return out
}

// ordinals is a list of ordinals as the annotation holds it.
func ordinals(list []int) string {
	list = slices.Clone(list)
	slices.Sort(list)
	parts := make([]string, len(list))
	for i, n := range list {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

// Change is the edit as somebody would commit it where an object is managed from.
func (e Edit) Change(o Object) string {
	spec, annotations := "spec:", "metadata:"
	indent := "  "
	if o.Kind == KindDeployment {
		spec, annotations, indent = "spec:\n  template:\n    spec:", "spec:\n  template:\n    metadata:", "      "
	}
	switch {
	case e.TLS == nil:
		return fmt.Sprintf("%s\n%sannotations:\n%s  %s: \"true\"\n# and without %s", annotations, indent, indent,
			v1alpha1.AnnotationAllowTLSRemoval, strings.Join(strings.Fields(strings.ReplaceAll(spec, ":", "")), ".")+".sidecar.tls")
	case e.TLS.SecretName != "":
		return fmt.Sprintf("%s\n%ssidecar:\n%s  tls:\n%s    secretName: %s", spec, indent, indent, indent, e.TLS.SecretName)
	}
	tls := e.TLS.Normalize()
	return fmt.Sprintf("%s\n%ssidecar:\n%s  tls:\n%s    issuerName: %s\n%s    issuerKind: %s", spec, indent, indent, indent,
		tls.IssuerName, indent, tls.IssuerKind)
}
