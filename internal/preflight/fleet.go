package preflight

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

// FleetInput is what the preflight has to know of a rollout. Nodes are added one by one and not kept: what is asked of the
// cluster depends on how many issuers and namespaces there are, not on how many nodes.
type FleetInput struct {
	// Settings of the platform.
	Settings settings.Settings
	// Lease of the chain's rollouts.
	Lease string
	// Drive says that the caller drives although an operator is installed, and PortForward that pods are reached through the
	// API server.
	Drive, PortForward bool
	// Command that shows the plan, for hints: "seictl fleet plan --chain pacific-1".
	Command string

	namespaces []*fleetNamespace
	issuers    []fleetSource
	secrets    []fleetSource
	// templates says that a SeiNodeDeployment is edited.
	templates bool
	// unnamed are nodes by the image that nobody names for them.
	unnamed map[string][]string
}

// fleetNamespace is what a rollout does in one namespace.
type fleetNamespace struct {
	name string
	// nodes and templates say that SeiNodes, and SeiNodeDeployments, are edited.
	nodes, templates bool
	// tls says that nodes shall have TLS, and issues that certificates are issued.
	tls, issues bool
	// plan has every task that is due in the namespace, each type once.
	plan v1alpha1.Plan
}

// fleetSource is where certificates come from; namespace is empty for what the whole cluster shares.
type fleetSource struct {
	namespace string
	tls       v1alpha1.SidecarTLSConfig
}

// Add takes in one node as it will be, and the plan that it will have; nil for none. template says that the edit is one of its
// SeiNodeDeployment.
func (in *FleetInput) Add(n *v1alpha1.SeiNode, p *v1alpha1.Plan, template bool) {
	ns := in.namespace(n.Namespace)
	ns.nodes, ns.templates = ns.nodes || !template, ns.templates || template
	in.templates = in.templates || template
	tls := n.SidecarTLS()
	ns.tls = ns.tls || tls != nil
	if p == nil {
		return
	}
	for i := range p.Tasks {
		if t := p.Tasks[i].Type; ns.plan.Task(t) == nil {
			ns.plan.Tasks = append(ns.plan.Tasks, v1alpha1.Task{Type: t})
		}
	}
	if err := resources.CheckImages(n, v1alpha1.PlanTarget{SidecarTLS: tls}, in.Settings); err != nil {
		if in.unnamed == nil {
			in.unnamed = map[string][]string{}
		}
		in.unnamed[oneLine(err)] = append(in.unnamed[oneLine(err)], nodeName(n))
	}
	switch {
	case tls == nil:
	case tls.SecretName != "":
		in.secrets = distinct(in.secrets, fleetSource{n.Namespace, v1alpha1.SidecarTLSConfig{SecretName: tls.SecretName}})
	case p.Task(v1alpha1.TaskApplySidecarCert) != nil:
		ns.issues = true
		source := fleetSource{n.Namespace, *tls.Normalize()}
		if source.tls.IssuerKind != v1alpha1.IssuerKindIssuer {
			source.namespace = ""
		}
		in.issuers = distinct(in.issuers, source)
	}
}

func (in *FleetInput) namespace(name string) *fleetNamespace {
	for _, ns := range in.namespaces {
		if ns.name == name {
			return ns
		}
	}
	ns := &fleetNamespace{name: name}
	in.namespaces = append(in.namespaces, ns)
	return ns
}

func distinct(sources []fleetSource, s fleetSource) []fleetSource {
	if slices.Contains(sources, s) {
		return sources
	}
	return append(sources, s)
}

// FleetFacts are what the checks of a rollout look at.
type FleetFacts struct {
	*FleetInput
	// CertManager is looked at where certificates are issued.
	CertManager CertManager
	// Issuers and Secrets of the rollout, each once.
	Issuers []FleetIssuer
	Secrets []FleetSecret
	Schemas Read[Schemas]
	// Read is how the reading of the settings went.
	Read       Read[settings.Settings]
	Namespaces []FleetNamespace
	Client     Read[bool]
	Me         Read[Me]
	Access     []Access
	Operator   Operator
}

// FleetIssuer is an issuer, and the namespace of an Issuer.
type FleetIssuer struct {
	Namespace string
	*IssuerFacts
}

// FleetSecret is a Secret that somebody else provisions.
type FleetSecret struct {
	Namespace, Name string
	Type            Read[corev1.SecretType]
}

// FleetNamespace is a namespace of a rollout, and whether its nodes shall have TLS.
type FleetNamespace struct {
	NamespaceFacts
	TLS bool
}

// mostSecrets is how many Secrets are looked at: an undo may go back to one of its own for each node.
const mostSecrets = 20

// Fleet gathers what the checks of a rollout need.
func (c *Collector) Fleet(ctx context.Context, in *FleetInput) *FleetFacts {
	f := &FleetFacts{FleetInput: in, Namespaces: make([]FleetNamespace, len(in.namespaces)),
		Issuers: make([]FleetIssuer, len(in.issuers)), Secrets: make([]FleetSecret, min(len(in.secrets), mostSecrets))}
	gather := []func(){
		func() { f.Schemas = c.schemas(ctx) },
		func() { f.Read = c.settings(ctx) },
		func() { f.Operator = c.operator(ctx) },
	}
	if len(in.issuers) > 0 {
		gather = append(gather,
			func() { f.CertManager.Missing = c.certManagerMissing() },
			func() { f.CertManager.Lease = c.certManagerLease(ctx) },
			func() { f.CertManager.Deployment = c.certManagerDeployment(ctx) })
	}
	if in.tls() {
		gather = append(gather, func() { f.Client = c.exists(ctx, &corev1.ServiceAccount{}, settings.Namespace, clientAccount) })
	}
	for i, s := range in.issuers {
		gather = append(gather, func() { f.Issuers[i] = FleetIssuer{s.namespace, c.fleetIssuer(ctx, s, in.Command)} })
	}
	for i := range f.Secrets {
		gather = append(gather, func() { f.Secrets[i] = c.fleetSecret(ctx, in.secrets[i]) })
	}
	stalled := make([][]string, len(in.namespaces))
	for i, ns := range in.namespaces {
		gather = append(gather, func() { f.Namespaces[i] = c.fleetNamespace(ctx, ns, in.Settings.NodeServiceAccount) })
		if ns.issues {
			gather = append(gather, func() { stalled[i] = c.stalledRequests(ctx, ns.name) })
		}
	}
	together(gather...)
	f.CertManager.Stalled = slices.Concat(stalled...)
	// Who drives decides what the caller must be allowed to do.
	if f.Access = c.ruled(ctx, f.rights()); slices.ContainsFunc(f.Access, func(a Access) bool { return !a.Allowed }) {
		f.Me = c.me(ctx)
	}
	return f
}

func (in *FleetInput) tls() bool {
	return slices.ContainsFunc(in.namespaces, func(ns *fleetNamespace) bool { return ns.tls })
}

func (c *Collector) fleetIssuer(ctx context.Context, s fleetSource, command string) *IssuerFacts {
	f := c.issuerFacts(ctx, s.namespace, &s.tls)
	if command != "" {
		f.Command = func(issuer, kind string) string {
			return fmt.Sprintf("%s --issuer %s --issuer-kind %s", command, issuer, kind)
		}
	}
	return f
}

func (c *Collector) fleetSecret(ctx context.Context, s fleetSource) FleetSecret {
	var secret corev1.Secret
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: s.tls.SecretName}, &secret)
	return FleetSecret{s.namespace, s.tls.SecretName, readOf(secret.Type, err)}
}

func (c *Collector) fleetNamespace(ctx context.Context, ns *fleetNamespace, account string) FleetNamespace {
	out := FleetNamespace{NamespaceFacts: NamespaceFacts{Name: ns.name}, TLS: ns.tls}
	gather := []func(){func() { out.ServiceAccount = c.exists(ctx, &corev1.ServiceAccount{}, ns.name, account) }}
	if ns.tls {
		gather = append(gather,
			func() { out.Reviews = c.reviews(ctx, ns.name, account) },
			func() { out.ClientAccess = c.clientAccessAnywhere(ctx, ns.name) })
	}
	together(gather...)
	return out
}

// clientAccessAnywhere asks for all namespaces first: one answer is enough where the client may use the sidecars of all of them.
func (c *Collector) clientAccessAnywhere(ctx context.Context, namespace string) []Access {
	if access := c.clientAccess(ctx, "", ""); !slices.ContainsFunc(access, func(a Access) bool { return !a.Allowed }) {
		return access
	}
	return c.clientAccess(ctx, namespace, "")
}

// rights are all that the caller needs for the rollout.
func (f *FleetFacts) rights() []Right {
	sys := settings.Namespace
	out := slices.Concat(fleetRights(), named(f.Lease, rights(sys, "coordination.k8s.io", "leases", "get", "update")))
	drives := f.Drive && !f.Operator.leads() || !f.Operator.Drives()
	for _, ns := range f.namespaces {
		need := Need{Namespace: ns.name, Plan: &ns.plan, Edits: ns.nodes, Drives: drives, PortForward: f.PortForward, TLS: ns.tls}
		out = append(out, need.Rights()...)
		// The health gate asks seid, whoever drives.
		out = append(out, rights(ns.name, "", "pods", "get")...)
		if f.PortForward {
			out = append(out, rights(ns.name, "", "pods/portforward", "create")...)
		}
		if ns.templates {
			out = append(out, rights(ns.name, groupSei, "seinodedeployments", "get", "patch")...)
			if drives {
				// Who drives hands the template on as well.
				out = append(out, rights(ns.name, groupSei, "seinodes", "update")...)
			}
		}
	}
	return unique(out)
}

// fleetRights are those over the records of rollouts and the Leases of chains, which the Role seictl-fleet has.
func fleetRights() []Right {
	return slices.Concat(rights(settings.Namespace, "", "configmaps", "get", "list", "watch", "create", "update"),
		rights(settings.Namespace, "coordination.k8s.io", "leases", "create"))
}
