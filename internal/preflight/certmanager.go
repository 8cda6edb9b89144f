package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// certManagerNamespace is where cert-manager runs and keeps what ClusterIssuers name, unless it was told otherwise.
const certManagerNamespace = "cert-manager"

// certManagerPatience is how long cert-manager may leave something unlooked at before it counts as not running.
const certManagerPatience = 30 * time.Second

// CertManager is what is known of cert-manager.
type CertManager struct {
	// Missing kinds: the API server does not serve them.
	Missing Read[[]string]
	// Lease of its controller: who holds it, and whether it is renewed.
	Lease Read[Lease]
	// Deployment of its controller.
	Deployment Read[Deployment]
	// Stalled are objects that its controller should have looked at long ago.
	Stalled []string
}

// Lease is a lock that a controller renews.
type Lease struct {
	Namespace, Name, Holder string
	// Renewed is when that was last, and Live whether it is recent enough.
	Renewed time.Time
	Live    bool
}

// Deployment is a controller's.
type Deployment struct {
	Namespace, Name string
	// Wanted and Available replicas.
	Wanted, Available int32
}

// certManagerKinds are the kinds that a plan needs, by resource.
var certManagerKinds = []string{"certificates", "certificaterequests", "issuers", "clusterissuers"}

func (c *Collector) certManager(ctx context.Context, namespace string) CertManager {
	var m CertManager
	together(
		func() { m.Missing = c.certManagerMissing() },
		func() { m.Lease = c.certManagerLease(ctx) },
		func() { m.Deployment = c.certManagerDeployment(ctx) },
		func() { m.Stalled = c.stalled(ctx, namespace) },
	)
	return m
}

func (c *Collector) certManagerMissing() Read[[]string] {
	return ask(c, "cert-manager/kinds", func() Read[[]string] {
		served, err := c.Kube.Discovery().ServerResourcesForGroupVersion(cmv1.SchemeGroupVersion.String())
		if err != nil {
			return readOf([]string(nil), err)
		}
		there := map[string]bool{}
		for i := range served.APIResources {
			there[served.APIResources[i].Name] = true
		}
		var missing []string
		for _, k := range certManagerKinds {
			if !there[k] {
				missing = append(missing, k)
			}
		}
		return found(missing)
	})
}

// certManagerLease looks where cert-manager keeps its Lease by default, and where it is often told to.
func (c *Collector) certManagerLease(ctx context.Context) Read[Lease] {
	return ask(c, "cert-manager/lease", func() Read[Lease] {
		var last Read[Lease]
		for _, ns := range []string{"kube-system", certManagerNamespace} {
			if last = c.readLease(ctx, ns, "cert-manager-controller"); last.State == Found {
				return last
			}
		}
		return last
	})
}

func (c *Collector) readLease(ctx context.Context, namespace, name string) Read[Lease] {
	var l coordinationv1.Lease
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &l); err != nil {
		return readOf(Lease{}, err)
	}
	out := Lease{Namespace: namespace, Name: name}
	if h := l.Spec.HolderIdentity; h != nil {
		out.Holder = *h
	}
	if r, d := l.Spec.RenewTime, l.Spec.LeaseDurationSeconds; r != nil && d != nil {
		out.Renewed = r.Time
		// Clocks differ: a lease that looks expired by a moment is not.
		out.Live = out.Holder != "" && c.Now().Before(r.Add(2*time.Duration(*d)*time.Second))
	}
	return found(out)
}

func (c *Collector) certManagerDeployment(ctx context.Context) Read[Deployment] {
	return ask(c, "cert-manager/deployment", func() Read[Deployment] {
		var list appsv1.DeploymentList
		err := c.Client.List(ctx, &list, client.MatchingLabels{
			"app.kubernetes.io/name": "cert-manager", "app.kubernetes.io/component": "controller",
		})
		if err == nil && len(list.Items) > 0 {
			return found(deploymentOf(&list.Items[0]))
		}
		return c.readDeployment(ctx, certManagerNamespace, "cert-manager")
	})
}

func (c *Collector) readDeployment(ctx context.Context, namespace, name string) Read[Deployment] {
	var d appsv1.Deployment
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &d)
	return readOf(deploymentOf(&d), err)
}

func deploymentOf(d *appsv1.Deployment) Deployment {
	out := Deployment{Namespace: d.Namespace, Name: d.Name, Wanted: 1, Available: d.Status.AvailableReplicas}
	if d.Spec.Replicas != nil {
		out.Wanted = *d.Spec.Replicas
	}
	return out
}

// stalled finds requests that nobody acts on, in a namespace or in all, and issuers that nobody has judged.
func (c *Collector) stalled(ctx context.Context, namespace string) []string {
	out := c.stalledRequests(ctx, namespace)
	for _, i := range c.issuers(ctx, namespace) {
		if i.Ready == "" && c.Now().Sub(i.Since) > certManagerPatience {
			out = append(out, i.String())
		}
	}
	return out
}

// stalledRequests are those that nobody has acted on, in a namespace or in all. They come in portions: each has a certificate
// or two in it, and there is at least one for each node.
func (c *Collector) stalledRequests(ctx context.Context, namespace string) []string {
	const portion = 250
	var out []string
	next := ""
	for {
		var list cmv1.CertificateRequestList
		if c.Client.List(ctx, &list, client.InNamespace(namespace), client.Limit(portion), client.Continue(next)) != nil {
			return out
		}
		for i := range list.Items {
			if r := &list.Items[i]; len(r.Status.Conditions) == 0 && c.Now().Sub(r.CreationTimestamp.Time) > certManagerPatience {
				out = append(out, fmt.Sprintf("CertificateRequest %s/%s", r.Namespace, r.Name))
			}
		}
		if next = list.Continue; next == "" {
			return out
		}
	}
}

// checkCertManagerInstalled: the kinds that a plan writes and reads are served.
func checkCertManagerInstalled(m *CertManager) Line {
	const hint = "kubectl get crd certificates.cert-manager.io issuers.cert-manager.io clusterissuers.cert-manager.io certificaterequests.cert-manager.io"
	switch r := m.Missing; {
	case r.State == Absent:
		return failed("cert-manager is not installed: the API server does not serve cert-manager.io/v1; install it, or use --secret", hint)
	case r.State != Found:
		return cannotTell("whether cert-manager is installed", r.Err)
	case len(r.Value) > 0:
		return failed("cert-manager is not whole: the API server does not serve "+strings.Join(r.Value, ", "), hint)
	}
	return ok("cert-manager.io/v1 is served")
}

// checkCertManagerServing: its controller runs. Its Lease says so best; then its Deployment; without either, what waits.
func checkCertManagerServing(m *CertManager) Line {
	if m.Missing.State != Found {
		return skipped("cert-manager is not installed")
	}
	if len(m.Stalled) > 0 {
		return failed("cert-manager does not act: it has not looked at "+few(m.Stalled)+" for more than "+certManagerPatience.String()+
			"; its controller or its approver does not run", "kubectl get pods -A -l app.kubernetes.io/name=cert-manager")
	}
	switch {
	case m.Lease.State == Found && m.Lease.Value.Live:
		return ok("its controller holds its Lease: " + m.Lease.Value.Holder)
	case m.Deployment.State == Found && m.Deployment.Value.Available == 0:
		d := m.Deployment.Value
		return failed(fmt.Sprintf("Deployment %s/%s has no available pod", d.Namespace, d.Name),
			fmt.Sprintf("kubectl rollout restart deployment %s -n %s", d.Name, d.Namespace))
	case m.Deployment.State == Found:
		return ok(fmt.Sprintf("Deployment %s/%s is available", m.Deployment.Value.Namespace, m.Deployment.Value.Name))
	case m.Lease.State == Found:
		return failed(fmt.Sprintf("nobody has renewed Lease %s/%s since %s: its controller does not run",
			m.Lease.Value.Namespace, m.Lease.Value.Name, m.Lease.Value.Renewed.UTC().Format(time.RFC3339)),
			"kubectl get pods -A -l app.kubernetes.io/name=cert-manager")
	}
	return ok("nothing waits for it (no Deployment and no Lease of it to look at)")
}

// few joins the first of many.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
