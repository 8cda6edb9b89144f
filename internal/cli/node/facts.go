package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/explain"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// gatherer reads the facts that an explanation is made from. What may not be read is unknown, never missing.
type gatherer struct {
	cluster  *factory.Cluster
	settings settings.Settings
	sidecars *sidecar.Connector
	now      func() time.Time
}

// wireTimeout bounds what is asked of a pod: one that hangs must not keep the explanation back.
const wireTimeout = 5 * time.Second

func (g *gatherer) gather(ctx context.Context, n *v1alpha1.SeiNode, snapshot *drift.Snapshot) (*explain.Facts, error) {
	f := &explain.Facts{Now: g.now(), Node: n, Snapshot: snapshot, Driver: g.driver(ctx)}
	f.Report = drift.Evaluate(drift.Input{Node: n, Snapshot: snapshot, Settings: &g.settings, Held: plan.Held(n, snapshot)})
	f.Decision = plan.Resolve(plan.Input{Node: n, Drift: f.Report, Snapshot: snapshot, Settings: &g.settings, Now: f.Now}, plan.Options{})
	target := f.Report.Target.SidecarTLS
	if p := n.Status.Plan; p.Active() {
		target = p.Target.SidecarTLS
	}
	if target != nil {
		verdict, err := g.verdict(ctx, n, target)
		if err != nil {
			return nil, err
		}
		f.Verdict = &verdict
		if target.IssuerName != "" {
			g.issuance(ctx, f, target)
		}
	}
	g.pod(ctx, f)
	return f, nil
}

// verdict judges the target's Secret.
func (g *gatherer) verdict(ctx context.Context, n *v1alpha1.SeiNode, tls *v1alpha1.SidecarTLSConfig) (certs.Verdict, error) {
	p := resources.TLSSecretParamsFor(n, tls, g.settings)
	want := certs.Want{Namespace: n.Namespace, SecretName: p.SecretName, TLS: *tls, DNSNames: p.DNSNames}
	var secret corev1.Secret
	err := g.cluster.Client.Get(ctx, client.ObjectKey{Namespace: n.Namespace, Name: p.SecretName}, &secret)
	switch {
	case err == nil:
		return certs.Judge(&secret, want, g.now()), nil
	case apierrors.IsNotFound(err):
		return certs.Judge(nil, want, g.now()), nil
	case factory.Unreachable(err):
		return certs.Verdict{}, g.cluster.Explain(err, "get", "secrets", n.Namespace, p.SecretName)
	}
	return certs.Unavailable(err), nil
}

// issuance reads what cert-manager says, and the issuer.
func (g *gatherer) issuance(ctx context.Context, f *explain.Facts, tls *v1alpha1.SidecarTLSConfig) {
	var requests cmv1.CertificateRequestList
	err := g.cluster.Client.List(ctx, &requests, client.InNamespace(f.Node.Namespace))
	f.NoCertManager = err != nil && (meta.IsNoMatchError(err) || factory.NoSuchKind(err))
	f.Requests = requests.Items
	if !f.NoCertManager {
		f.Issuer = g.issuer(ctx, f.Node.Namespace, tls.Normalize())
	}
}

func (g *gatherer) issuer(ctx context.Context, namespace string, tls *v1alpha1.SidecarTLSConfig) *explain.Issuer {
	i := &explain.Issuer{Kind: tls.IssuerKind, Name: tls.IssuerName}
	other := v1alpha1.IssuerKindIssuer
	if i.Kind == other {
		i.Namespace, other = namespace, v1alpha1.IssuerKindClusterIssuer
	}
	obj, err := g.readIssuer(ctx, i.Kind, namespace, i.Name)
	switch {
	case apierrors.IsNotFound(err):
		i.Presence = explain.Absent
		_, twin := g.readIssuer(ctx, other, namespace, i.Name)
		i.Twin = twin == nil
		i.Others = g.otherIssuers(ctx, namespace)
		return i
	case err != nil:
		i.Detail = "it may not be looked at: " + err.Error()
		return i
	}
	i.Presence = explain.Found
	for _, c := range obj.GetStatus().Conditions {
		if c.Type != cmv1.IssuerConditionReady {
			continue
		}
		i.Ready, i.Reason, i.Message = c.Status == cmmeta.ConditionTrue, c.Reason, c.Message
		if c.LastTransitionTime != nil {
			i.Since = &c.LastTransitionTime.Time
		}
	}
	if ca := obj.GetSpec().CA; ca != nil {
		g.caSecret(ctx, i, ca.SecretName)
	}
	return i
}

func (g *gatherer) readIssuer(ctx context.Context, kind, namespace, name string) (cmv1.GenericIssuer, error) {
	if kind == v1alpha1.IssuerKindIssuer {
		o := &cmv1.Issuer{}
		return o, g.cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
	}
	o := &cmv1.ClusterIssuer{}
	return o, g.cluster.Client.Get(ctx, client.ObjectKey{Name: name}, o)
}

// clusterResourceNamespace is where cert-manager keeps the Secrets of ClusterIssuers, unless told otherwise.
const clusterResourceNamespace = "cert-manager"

// caSecret looks whether the Secret of a CA issuer is there. That of a ClusterIssuer may be in another namespace: it is
// called missing only if the issuer is not Ready.
func (g *gatherer) caSecret(ctx context.Context, i *explain.Issuer, name string) {
	namespace := i.Namespace
	if namespace == "" {
		namespace = clusterResourceNamespace
	}
	i.CASecret = namespace + "/" + name
	// The metadata alone: nobody needs a CA's key to know that it is there.
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	switch err := g.cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); {
	case err == nil:
		i.CASecretPresence = explain.Found
	case apierrors.IsNotFound(err) && (i.Namespace != "" || !i.Ready):
		i.CASecretPresence = explain.Absent
	}
}

// otherIssuers are the Ready ones that a node could use, as Kind/name.
func (g *gatherer) otherIssuers(ctx context.Context, namespace string) []string {
	var out []string
	add := func(kind string, o cmv1.GenericIssuer) {
		for _, c := range o.GetStatus().Conditions {
			if c.Type == cmv1.IssuerConditionReady && c.Status == cmmeta.ConditionTrue {
				out = append(out, kind+"/"+o.GetName())
			}
		}
	}
	var cluster cmv1.ClusterIssuerList
	if g.cluster.Client.List(ctx, &cluster) == nil {
		for i := range cluster.Items {
			add(v1alpha1.IssuerKindClusterIssuer, &cluster.Items[i])
		}
	}
	var local cmv1.IssuerList
	if g.cluster.Client.List(ctx, &local, client.InNamespace(namespace)) == nil {
		for i := range local.Items {
			add(v1alpha1.IssuerKindIssuer, &local.Items[i])
		}
	}
	slices.Sort(out)
	return out
}

// pod asks the kubelet's events, the proxy, the sidecar and seid.
func (g *gatherer) pod(ctx context.Context, f *explain.Facts) {
	pod := f.Snapshot.Pod
	if pod == nil || pod.DeletionTimestamp != nil {
		return
	}
	if pod.Status.Phase == corev1.PodPending {
		f.Mount = g.mountTrouble(ctx, pod)
	}
	runs := map[string]bool{}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			runs[s.Name] = s.State.Running != nil
		}
	}
	if f.Snapshot.ProxyRuns() && runs[resources.ContainerProxy] || !f.Snapshot.ProxyRuns() && runs[resources.ContainerSidecar] {
		f.Wire = g.wire(ctx, f, pod)
	}
	if runs[resources.ContainerSeid] && f.Wire.Health != http.StatusServiceUnavailable {
		f.RPC = g.rpc(ctx, pod)
	}
}

// mountTrouble is the newest complaint about a volume, unless the pod got over it.
func (g *gatherer) mountTrouble(ctx context.Context, pod *corev1.Pod) string {
	var list corev1.EventList
	if g.cluster.Client.List(ctx, &list, client.InNamespace(pod.Namespace), client.MatchingFieldsSelector{
		Selector: fields.OneTermEqualSelector("involvedObject.uid", string(pod.UID))}) != nil {
		return ""
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Waiting == nil {
			return ""
		}
	}
	for i := len(list.Items) - 1; i >= 0; i-- {
		e := &list.Items[i]
		if (e.Reason == "FailedMount" || e.Reason == "FailedAttachVolume") && !strings.HasPrefix(e.Message, "Unable to attach or mount volumes") {
			return e.Message
		}
	}
	return ""
}

// wire asks a pod as the observers do: with TLS exactly if it has the proxy.
func (g *gatherer) wire(ctx context.Context, f *explain.Facts, pod *corev1.Pod) explain.Wire {
	ctx, cancel := context.WithTimeout(ctx, wireTimeout)
	defer cancel()
	w := explain.Wire{Asked: true}
	target := sidecar.Target{Namespace: pod.Namespace, PodName: pod.Name, PodIP: pod.Status.PodIP, Port: resources.SidecarPortOf(&pod.Spec)}
	if f.Snapshot.ProxyRuns() {
		target.Port = resources.PortProxy
		target.TLS = &sidecar.TLSTarget{ServerName: certs.RequiredDNSNames(f.Node.Name, f.Node.Namespace, g.settings.ClusterDomain)[0]}
		if v := f.Verdict; v != nil {
			target.TLS.Leaf, target.TLS.CAs = v.Leaf, v.CAs
		}
		if current := f.Node.Status.CurrentSidecarTLS; target.TLS.Leaf == nil && current != nil {
			target.TLS.FingerprintSHA256 = current.FingerprintSHA256
		}
		if target.TLS.Leaf == nil && target.TLS.FingerprintSHA256 == "" {
			// Nothing is trusted, so nothing can be asked.
			return explain.Wire{}
		}
		if _, w.Err = g.sidecars.Handshake(ctx, target); w.Err != nil {
			return w
		}
	}
	c := g.sidecars.Open(target)
	defer c.Close()
	if w.Health, w.Err = c.Healthz(ctx); w.Err == nil && target.TLS != nil {
		w.Status, w.StatusErr = c.Status(ctx)
	}
	return w
}

// rpc asks seid whether it has caught up.
func (g *gatherer) rpc(ctx context.Context, pod *corev1.Pod) explain.RPC {
	out := explain.RPC{Asked: true}
	ctx, cancel := context.WithTimeout(ctx, wireTimeout)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return g.sidecars.DialPod(ctx, pod.Namespace, pod.Name, pod.Status.PodIP, resources.PortRPC)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s.%s:%d/status", pod.Name, pod.Namespace, resources.PortRPC), nil)
	if err != nil {
		out.Err = err
		return out
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		out.Err = err
		return out
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	var status struct {
		Result struct {
			SyncInfo struct {
				LatestBlockHeight string `json:"latest_block_height"`
				CatchingUp        bool   `json:"catching_up"`
			} `json:"sync_info"`
		} `json:"result"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&status); err != nil {
		out.Err = fmt.Errorf("reading its status: %w", err)
		return out
	}
	out.CatchingUp, out.Height = status.Result.SyncInfo.CatchingUp, status.Result.SyncInfo.LatestBlockHeight
	return out
}

// driver is whoever holds the Lease.
func (g *gatherer) driver(ctx context.Context) explain.Driver {
	l, err := lock.NewForConfig(g.cluster.Config, lock.Self(lock.KindCLI), lock.Options{})
	if err != nil {
		return explain.Driver{}
	}
	r, err := l.Peek(ctx)
	switch {
	case err != nil:
		return explain.Driver{}
	case r == nil, r.Expired(g.now()):
		return explain.Driver{Known: true}
	}
	return explain.Driver{Known: true, Holder: r.Holder.Display(), Operator: r.Holder.Kind == lock.KindOperator, Since: &r.Since}
}
