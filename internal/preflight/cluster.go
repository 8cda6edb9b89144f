package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

// Categories of `seictl check`, in the order in which they are told.
const (
	CategoryCluster     = "cluster"
	CategoryCertManager = "cert-manager"
	CategoryIssuers     = "issuers"
	CategoryCRDs        = "crds"
	CategorySettings    = "settings"
	CategoryRBAC        = "rbac"
	CategoryOperator    = "operator"
	CategoryImages      = "images"
	CategoryNodes       = "nodes"
	CategoryMonitoring  = "monitoring"
)

// ClusterFacts are what the checks of a cluster look at.
type ClusterFacts struct {
	// Pre says that nothing is installed yet.
	Pre            bool
	Version        Read[*version.Info]
	StorageClasses Read[[]storagev1.StorageClass]
	CertManager    CertManager
	// Issuers by chain.
	Issuers  []ChainIssuer
	Schemas  Read[Schemas]
	Settings Read[settings.Settings]
	// Namespaces that hold nodes.
	Namespaces []NamespaceFacts
	Client     Read[bool]
	Me         Read[Me]
	// Install are the rights that `seictl install base` takes.
	Install  []Access
	Operator Operator
	Nodes    Read[[]v1alpha1.SeiNode]
	// Verdicts on the TLS Secrets of nodes, by node; of those that could be read.
	Verdicts map[string]certs.Verdict
	// Pods of nodes.
	Pods       Read[[]corev1.Pod]
	Monitoring Monitoring
	// Now is when the facts were gathered.
	Now time.Time
}

// ChainIssuer is an issuer that a chain uses.
type ChainIssuer struct {
	Chain string
	*IssuerFacts
}

// NamespaceFacts are what is known of a namespace of nodes.
type NamespaceFacts struct {
	Name           string
	ServiceAccount Read[bool]
	Reviews        []Access
	ClientAccess   []Access
}

// Monitoring says what of prometheus-operator is there, and what of ours.
type Monitoring struct {
	// Served says whether each kind is served, by kind.
	Served Read[map[string]bool]
	// Objects says whether ours are there, by kind.
	Objects map[string]Read[bool]
	// Certificate of the operator's metrics.
	Certificate Read[*cmv1.Certificate]
}

// monitored are our objects of prometheus-operator's kinds, as config/monitoring has them.
var monitored = []struct{ kind, resource, name string }{
	{"PrometheusRule", "prometheusrules", "seictl"},
	{"PodMonitor", "podmonitors", "seictl-operator"},
}

const groupMonitoring = "monitoring.coreos.com/v1"

// Cluster gathers what the checks of a cluster need; before an installation that is little.
func (c *Collector) Cluster(ctx context.Context, pre bool) *ClusterFacts {
	f := &ClusterFacts{Pre: pre, Now: c.Now()}
	together(
		func() { f.Version = readOf(c.Kube.Discovery().ServerVersion()) },
		func() { f.Settings = c.settings(ctx) },
		func() { f.StorageClasses = c.storageClasses(ctx) },
		func() { f.CertManager = c.certManager(ctx, "") },
		func() { f.Me = c.me(ctx) },
	)
	if pre {
		f.Install = c.access(ctx, subject{}, installRights())
		return f
	}
	together(
		func() { f.Schemas = c.schemas(ctx) },
		func() { f.Client = c.exists(ctx, &corev1.ServiceAccount{}, settings.Namespace, clientAccount) },
		func() { f.Operator = c.operator(ctx) },
		func() { f.Nodes = c.nodes(ctx) },
		func() { f.Pods = c.pods(ctx) },
		func() { f.Monitoring = c.monitoring(ctx) },
	)
	for _, ns := range namespacesOf(f.Nodes.Value) {
		f.Namespaces = append(f.Namespaces, c.namespaceFacts(ctx, ns, f.Settings.Value.NodeServiceAccount))
	}
	f.Issuers = c.chainIssuers(ctx, f)
	f.Verdicts = c.verdicts(ctx, f)
	return f
}

// verdicts judges the TLS Secret of every node that has one: without an operator nobody else does.
func (c *Collector) verdicts(ctx context.Context, f *ClusterFacts) map[string]certs.Verdict {
	out := map[string]certs.Verdict{}
	var mu sync.Mutex
	var judge []func()
	for i := range f.Nodes.Value {
		n := &f.Nodes.Value[i]
		tls := runningTLS(n)
		if tls == nil {
			continue
		}
		judge = append(judge, func() {
			v := c.verdict(ctx, n, tls, f.Settings.Value)
			mu.Lock()
			defer mu.Unlock()
			out[nodeName(n)] = v
		})
	}
	together(judge...)
	return out
}

func (c *Collector) verdict(ctx context.Context, n *v1alpha1.SeiNode, tls *v1alpha1.SidecarTLSConfig, s settings.Settings) certs.Verdict {
	want := resources.WantOf(n.Namespace, resources.TLSSecretParamsFor(n, tls, s))
	var secret corev1.Secret
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: n.Namespace, Name: want.SecretName}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return certs.Judge(nil, want, c.Now())
	case err != nil:
		return certs.Unavailable(err)
	}
	return certs.Judge(&secret, want, c.Now())
}

// installRights are what `seictl install base --apply` takes.
func installRights() []Right {
	var out []Right
	for _, r := range []struct{ ns, group, resource string }{
		{"", "", "namespaces"},
		{"", "apiextensions.k8s.io", "customresourcedefinitions"},
		{"", "rbac.authorization.k8s.io", "clusterroles"},
		{"", "rbac.authorization.k8s.io", "clusterrolebindings"},
		{settings.Namespace, "rbac.authorization.k8s.io", "roles"},
		{settings.Namespace, "", "configmaps"},
		{settings.Namespace, "", "serviceaccounts"},
	} {
		out = append(out, rights(r.ns, r.group, r.resource, "create", "patch")...)
	}
	return out
}

func (c *Collector) storageClasses(ctx context.Context) Read[[]storagev1.StorageClass] {
	var list storagev1.StorageClassList
	err := c.Client.List(ctx, &list)
	return readOf(list.Items, err)
}

func (c *Collector) nodes(ctx context.Context) Read[[]v1alpha1.SeiNode] {
	var list v1alpha1.SeiNodeList
	err := c.Client.List(ctx, &list)
	slices.SortFunc(list.Items, func(a, b v1alpha1.SeiNode) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return readOf(list.Items, err)
}

func (c *Collector) pods(ctx context.Context) Read[[]corev1.Pod] {
	var list corev1.PodList
	err := c.Client.List(ctx, &list, client.HasLabels{v1alpha1.LabelNode})
	return readOf(list.Items, err)
}

func namespacesOf(nodes []v1alpha1.SeiNode) []string {
	var out []string
	for i := range nodes {
		if ns := nodes[i].Namespace; !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}

func (c *Collector) namespaceFacts(ctx context.Context, ns, account string) NamespaceFacts {
	out := NamespaceFacts{Name: ns}
	together(
		func() { out.ServiceAccount = c.exists(ctx, &corev1.ServiceAccount{}, ns, account) },
		func() { out.Reviews = c.reviews(ctx, ns, account) },
		func() { out.ClientAccess = c.clientAccess(ctx, ns, "") },
	)
	return out
}

// chainIssuers are the defaults of the settings and what nodes name, each once per chain.
func (c *Collector) chainIssuers(ctx context.Context, f *ClusterFacts) []ChainIssuer {
	var out []ChainIssuer
	seen := map[string]bool{}
	add := func(chain, ns, node string, tls *v1alpha1.SidecarTLSConfig) {
		if tls = tls.Normalize(); tls == nil || tls.IssuerName == "" {
			return
		}
		if tls.IssuerKind != v1alpha1.IssuerKindIssuer {
			ns = ""
		}
		if key := chain + "/" + ns + "/" + tls.String(); !seen[key] {
			seen[key] = true
			facts := c.issuerFacts(ctx, ns, tls)
			facts.Command = func(issuer, kind string) string {
				if node == "" {
					return editSettings
				}
				return fmt.Sprintf("seictl node apply %s --tls --issuer %s --issuer-kind %s --yes", node, issuer, kind)
			}
			out = append(out, ChainIssuer{Chain: chain, IssuerFacts: facts})
		}
	}
	for chain, d := range f.Settings.Value.Chains {
		// An Issuer is in the namespace of each node: which one is not known here.
		if d.IssuerKind != v1alpha1.IssuerKindIssuer {
			add(chain, "", "", &v1alpha1.SidecarTLSConfig{IssuerName: d.IssuerName, IssuerKind: d.IssuerKind})
		}
	}
	for i := range f.Nodes.Value {
		n := &f.Nodes.Value[i]
		command := fmt.Sprintf("%s -n %s", n.Name, n.Namespace)
		add(n.Spec.ChainID, n.Namespace, command, n.SidecarTLS())
		add(n.Spec.ChainID, n.Namespace, command, n.Status.CurrentSidecarTLS.Config())
	}
	slices.SortStableFunc(out, func(a, b ChainIssuer) int { return strings.Compare(a.Chain, b.Chain) })
	return out
}

func (c *Collector) monitoring(ctx context.Context) Monitoring {
	m := Monitoring{Objects: map[string]Read[bool]{}, Certificate: c.metricsCertificate(ctx)}
	list, err := c.Kube.Discovery().ServerResourcesForGroupVersion(groupMonitoring)
	served := map[string]bool{}
	if err == nil {
		for _, o := range monitored {
			served[o.kind] = slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == o.resource })
		}
	}
	if m.Served = readOf(served, err); apierrors.IsNotFound(err) {
		m.Served.State = Absent
	}
	for _, o := range monitored {
		if !served[o.kind] {
			continue
		}
		u := &unstructured.Unstructured{}
		u.SetAPIVersion(groupMonitoring)
		u.SetKind(o.kind)
		m.Objects[o.kind] = readOf(true, c.Client.Get(ctx, client.ObjectKey{Namespace: settings.Namespace, Name: o.name}, u))
	}
	return m
}

// nodeName is a node as people and kubectl name it.
func nodeName(n *v1alpha1.SeiNode) string { return fmt.Sprintf("%s/%s", n.Namespace, n.Name) }
