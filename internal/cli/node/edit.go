package node

import (
	"fmt"

	"github.com/spf13/pflag"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/manifest"
	"sei.io/seictl/pkg/settings"
)

// Edit is what the flags change in a spec.
type Edit struct {
	TLS, NoTLS                 bool
	Issuer, IssuerKind, Secret string
	Image                      string
}

// AddFlags adds the flags of an edit.
func (e *Edit) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&e.TLS, "tls", false, "turn TLS on, or change where its certificate comes from: with --issuer, --secret or the chain's default issuer")
	fs.StringVar(&e.Issuer, "issuer", "", "with --tls: the cert-manager issuer of the certificate")
	fs.StringVar(&e.IssuerKind, "issuer-kind", "", "with --issuer: ClusterIssuer (default) or Issuer")
	fs.StringVar(&e.Secret, "secret", "", "with --tls: a Secret of type kubernetes.io/tls that somebody else provisions")
	fs.BoolVar(&e.NoTLS, "no-tls", false, "turn TLS off; consents to the removal of running TLS")
	fs.StringVar(&e.Image, "image", "", "the image of seid")
}

// Empty says whether the flags change nothing.
func (e *Edit) Empty() bool { return *e == Edit{} }

// Validate checks the flags against each other.
func (e *Edit) Validate() error {
	switch {
	case e.TLS && e.NoTLS:
		return fmt.Errorf("--tls and --no-tls exclude each other: choose one")
	case e.Issuer != "" && e.Secret != "":
		return fmt.Errorf("--issuer %s and --secret %s exclude each other: choose one source of the certificate", e.Issuer, e.Secret)
	case e.Issuer != "" && !e.TLS:
		return fmt.Errorf("--issuer needs --tls: add --tls")
	case e.Secret != "" && !e.TLS:
		return fmt.Errorf("--secret needs --tls: add --tls")
	case e.IssuerKind != "" && e.Issuer == "":
		return fmt.Errorf("--issuer-kind needs --issuer: add --issuer NAME")
	}
	switch e.IssuerKind {
	case "", v1alpha1.IssuerKindClusterIssuer, v1alpha1.IssuerKindIssuer:
		return nil
	}
	return fmt.Errorf("--issuer-kind: found %q, wanted ClusterIssuer or Issuer", e.IssuerKind)
}

// needsDefault says whether the issuer has to come from the defaults of the chain.
func (e *Edit) needsDefault() bool { return e.TLS && e.Issuer == "" && e.Secret == "" }

// issuerDefaults yields the default issuer of a chain.
type issuerDefaults func(chain string) settings.ChainDefaults

// Apply edits a copy of the node, and says what is wrong with the result.
func (e *Edit) Apply(node *v1alpha1.SeiNode, defaults issuerDefaults) (*v1alpha1.SeiNode, error) {
	n := node.DeepCopy()
	if e.Empty() {
		return n, nil
	}
	if e.Image != "" {
		n.Spec.Image = e.Image
	}
	if e.TLS {
		tls, err := e.source(n, defaults)
		if err != nil {
			return nil, err
		}
		if n.Spec.Sidecar == nil {
			n.Spec.Sidecar = &v1alpha1.SidecarConfig{}
		}
		// What is the same needs no write: an issuer kind that was left out is ClusterIssuer.
		if !n.Spec.Sidecar.TLS.Equal(tls) {
			n.Spec.Sidecar.TLS = tls
		}
		// An earlier consent to the removal would outlive the change of mind.
		delete(n.Annotations, v1alpha1.AnnotationAllowTLSRemoval)
	}
	if e.NoTLS {
		removeTLS(n)
	}
	if problems := manifest.ValidateNode(n); len(problems) > 0 {
		return nil, fmt.Errorf("SeiNode %s/%s: %s", n.Namespace, n.Name, problems[0])
	}
	return n, nil
}

func (e *Edit) source(n *v1alpha1.SeiNode, defaults issuerDefaults) (*v1alpha1.SidecarTLSConfig, error) {
	switch {
	case e.Secret != "":
		return &v1alpha1.SidecarTLSConfig{SecretName: e.Secret}, nil
	case e.Issuer != "":
		return &v1alpha1.SidecarTLSConfig{IssuerName: e.Issuer, IssuerKind: e.IssuerKind}, nil
	}
	if d := defaults(n.Spec.ChainID); d.IssuerName != "" {
		return &v1alpha1.SidecarTLSConfig{IssuerName: d.IssuerName, IssuerKind: d.IssuerKind}, nil
	}
	return nil, fmt.Errorf("SeiNode %s/%s: --tls: no default issuer for chain %s: add --issuer NAME or --secret NAME, "+
		"or set chains.%s.issuerName in ConfigMap %s/%s", n.Namespace, n.Name, n.Spec.ChainID, n.Spec.ChainID,
		settings.Namespace, settings.ConfigMapName)
}

// removeTLS takes TLS out of the spec and consents, where there is something to consent to.
func removeTLS(n *v1alpha1.SeiNode) {
	wanted := n.SidecarTLS() != nil
	if wanted {
		n.Spec.Sidecar.TLS = nil
		if *n.Spec.Sidecar == (v1alpha1.SidecarConfig{}) {
			n.Spec.Sidecar = nil
		}
	}
	if n.Status.CurrentSidecarTLS == nil && !n.Status.Plan.Active() {
		return
	}
	if n.Annotations == nil {
		n.Annotations = map[string]string{}
	}
	n.Annotations[v1alpha1.AnnotationAllowTLSRemoval] = "true"
}

// editFile makes the same edit in what a file declares, so that a server-side apply carries it.
func (e *Edit) editFile(file map[string]any, edited *v1alpha1.SeiNode) {
	spec := child(file, "spec")
	if e.Image != "" {
		spec["image"] = e.Image
	}
	switch tls := edited.SidecarTLS(); {
	case e.TLS && tls.SecretName != "":
		child(spec, "sidecar")["tls"] = map[string]any{"secretName": tls.SecretName}
	case e.TLS:
		child(spec, "sidecar")["tls"] = map[string]any{"issuerName": tls.IssuerName, "issuerKind": tls.IssuerKind}
	case e.NoTLS:
		if sidecar, ok := spec["sidecar"].(map[string]any); ok {
			if delete(sidecar, "tls"); len(sidecar) == 0 {
				delete(spec, "sidecar")
			}
		}
		if v, ok := edited.Annotations[v1alpha1.AnnotationAllowTLSRemoval]; ok {
			child(child(file, "metadata"), "annotations")[v1alpha1.AnnotationAllowTLSRemoval] = v
		}
	}
}

func child(m map[string]any, key string) map[string]any {
	inner, ok := m[key].(map[string]any)
	if !ok {
		inner = map[string]any{}
		m[key] = inner
	}
	return inner
}
