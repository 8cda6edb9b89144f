package v1alpha1

// Normalize returns the configuration with the issuer kind filled in; nil for nil, and itself where nothing is missing:
// copy it before changing it.
func (c *SidecarTLSConfig) Normalize() *SidecarTLSConfig {
	if c == nil || c.IssuerName == "" || c.IssuerKind != "" {
		return c
	}
	n := *c
	n.IssuerKind = IssuerKindClusterIssuer
	return &n
}

// kind is the issuer kind with the default filled in; empty without an issuer.
func (c *SidecarTLSConfig) kind() string {
	if c.IssuerName != "" && c.IssuerKind == "" {
		return IssuerKindClusterIssuer
	}
	return c.IssuerKind
}

// String is "ClusterIssuer/x", "Issuer/x", "Secret/x", or empty for nil: off.
func (c *SidecarTLSConfig) String() string {
	switch n := c.Normalize(); {
	case n == nil:
		return ""
	case n.SecretName != "":
		return "Secret/" + n.SecretName
	default:
		return n.IssuerKind + "/" + n.IssuerName
	}
}

// Equal compares normalised values.
func (c *SidecarTLSConfig) Equal(o *SidecarTLSConfig) bool {
	if c == nil || o == nil {
		return c == nil && o == nil
	}
	// Without normalised copies: every pass over every node compares.
	return c.IssuerName == o.IssuerName && c.SecretName == o.SecretName && c.kind() == o.kind()
}

// Config is the configuration without what was observed of it; nil for nil.
func (o *ObservedSidecarTLS) Config() *SidecarTLSConfig {
	if o == nil {
		return nil
	}
	return o.SidecarTLSConfig.Normalize()
}

// Equal compares image and normalised TLS.
func (t PlanTarget) Equal(o PlanTarget) bool {
	return t.Image == o.Image && t.SidecarTLS.Equal(o.SidecarTLS)
}

// Target is what a plan that returns to this would aim at.
func (p PlanPrevious) Target() PlanTarget {
	return PlanTarget{Image: p.Image, SidecarTLS: p.SidecarTLS.Config()}
}

// SidecarTLS is the TLS configuration in the spec, normalised; nil when off.
func (n *SeiNode) SidecarTLS() *SidecarTLSConfig {
	if n.Spec.Sidecar == nil {
		return nil
	}
	return n.Spec.Sidecar.TLS.Normalize()
}

// Mode is fullNode, archive, replayer or validator; empty when the spec has none.
func (n *SeiNode) Mode() string {
	switch {
	case n.Spec.FullNode != nil:
		return ModeFullNode
	case n.Spec.Archive != nil:
		return ModeArchive
	case n.Spec.Replayer != nil:
		return ModeReplayer
	case n.Spec.Validator != nil:
		return ModeValidator
	}
	return ""
}

// Modes of a node.
const (
	ModeFullNode  = "fullNode"
	ModeArchive   = "archive"
	ModeReplayer  = "replayer"
	ModeValidator = "validator"
)

// TLSRemovalAllowed says whether the node carries the consent to the removal of running TLS.
func (n *SeiNode) TLSRemovalAllowed() bool {
	return n.Annotations[AnnotationAllowTLSRemoval] == "true"
}

// Active says whether there is a plan with tasks left to run.
func (p *Plan) Active() bool { return p != nil && p.Phase == PlanActive }

// Task returns the first task of a type; nil when the plan has none.
func (p *Plan) Task(t TaskType) *Task {
	if p == nil {
		return nil
	}
	for i := range p.Tasks {
		if p.Tasks[i].Type == t {
			return &p.Tasks[i]
		}
	}
	return nil
}
