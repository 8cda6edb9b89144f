package preflight

import (
	"context"
	"fmt"
	"strings"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// IssuerFacts is what is known of the issuer that a certificate is to come from.
type IssuerFacts struct {
	// Named is the issuer of the kind that is named, and Twin the one of the same name and the other kind.
	Named, Twin Read[Issuer]
	// Others are those that are Ready and could take its place.
	Others []Issuer
	// CASecret of the issuer, and the namespace in which it was looked for.
	CASecret    Read[bool]
	CANamespace string
	// Command turns TLS on with an issuer, in a hint; empty when nothing was asked for.
	Command func(issuer, kind string) string
}

func (c *Collector) issuerFacts(ctx context.Context, namespace string, tls *v1alpha1.SidecarTLSConfig) *IssuerFacts {
	tls = tls.Normalize()
	other := cmv1.IssuerKind
	if tls.IssuerKind == cmv1.IssuerKind {
		other = cmv1.ClusterIssuerKind
	}
	f := &IssuerFacts{Named: c.issuer(ctx, tls.IssuerKind, namespace, tls.IssuerName)}
	if f.Named.State == Absent {
		f.Twin = c.issuer(ctx, other, namespace, tls.IssuerName)
		for _, i := range c.issuers(ctx, namespace) {
			if i.Ready == "True" {
				f.Others = append(f.Others, i)
			}
		}
	}
	if i := f.Named.Value; f.Named.State == Found && i.CASecret != "" {
		if f.CANamespace = i.Namespace; i.Kind == cmv1.ClusterIssuerKind {
			f.CANamespace = certManagerNamespace
		}
		f.CASecret = c.secretExists(ctx, f.CANamespace, i.CASecret)
	}
	return f
}

// secretExists looks at the metadata alone: nobody needs a CA's key to know that it is there.
func (c *Collector) secretExists(ctx context.Context, namespace, name string) Read[bool] {
	return ask(c, "secret/"+namespace+"/"+name, func() Read[bool] {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		return readOf(true, c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o))
	})
}

// checkIssuerExists: the issuer is there, and of the kind that is named.
func checkIssuerExists(f *IssuerFacts) Line {
	i := f.Named.Value
	where := ""
	if i.Namespace != "" {
		where = " in namespace " + i.Namespace
	}
	switch f.Named.State {
	case Found:
		return ok(i.String() + " exists")
	case Absent:
	default:
		return cannotTell("whether "+i.String()+" exists", f.Named.Err)
	}
	if t := f.Twin.Value; f.Twin.State == Found {
		return failed(fmt.Sprintf("%s not found%s; %s of that name exists: add --issuer-kind %s", i, where, article(t.Kind), t.Kind),
			f.hint(t.Name, t.Kind))
	}
	if len(f.Others) == 0 {
		return failed(fmt.Sprintf("%s not found%s, and no issuer is Ready", i, where), "kubectl get clusterissuers,issuers -A")
	}
	names := make([]string, len(f.Others))
	for k, o := range f.Others {
		names[k] = o.Kind + "/" + o.Name
	}
	return failed(fmt.Sprintf("%s not found%s; Ready are %s", i, where, few(names)), f.hint(f.Others[0].Name, f.Others[0].Kind))
}

func article(kind string) string {
	if strings.HasPrefix(kind, "I") {
		return "an " + kind
	}
	return "a " + kind
}

func (f *IssuerFacts) hint(name, kind string) string {
	if f.Command == nil {
		return "kubectl get clusterissuers,issuers -A"
	}
	return f.Command(name, kind)
}

// checkIssuerReady: cert-manager has judged the issuer as it is now, and can use it.
func checkIssuerReady(f *IssuerFacts) Line {
	i := f.Named.Value
	switch {
	case f.Named.State != Found:
		return skipped("there is no such issuer")
	case i.Ready == "":
		return failed(i.String()+" was never judged by cert-manager", i.described())
	case i.Ready != "True":
		return failed(fmt.Sprintf("%s is not Ready: %s: %s", i, i.Reason, i.Message), f.repair())
	case !i.Current:
		return warning(i.String()+" is Ready as it was before its last change, which cert-manager has not judged", i.described())
	}
	return ok(i.String() + " is Ready")
}

// repair is what makes an issuer Ready: its Secret, where that is what is missing.
func (f *IssuerFacts) repair() string {
	if f.CASecret.State == Absent {
		return f.createCA()
	}
	return f.Named.Value.described()
}

func (f *IssuerFacts) createCA() string {
	return fmt.Sprintf("kubectl create secret tls %s -n %s --cert=ca.crt --key=ca.key", f.Named.Value.CASecret, f.CANamespace)
}

// checkIssuerCASecret: a CA issuer has its Secret.
func checkIssuerCASecret(f *IssuerFacts) Line {
	i, where := f.Named.Value, f.CANamespace+"/"+f.Named.Value.CASecret
	switch {
	case f.Named.State != Found:
		return skipped("there is no such issuer")
	case i.CASecret == "":
		return skipped(i.String() + " is no CA issuer")
	case f.CASecret.State == Found:
		return ok("Secret " + where + " exists")
	case f.CASecret.State != Absent:
		if i.Ready == "True" {
			return skipped(fmt.Sprintf("you may not look at Secret %s; cert-manager says of it: %s", where, i.Message))
		}
		return cannotTell("whether Secret "+where+" exists", f.CASecret.Err)
	case i.Kind == cmv1.ClusterIssuerKind && i.Ready == "True":
		return warning(fmt.Sprintf("Secret %s not found, and %s is Ready: cert-manager keeps it in another namespace (--cluster-resource-namespace), "+
			"or it was deleted a moment ago", where, i), "kubectl get secrets -A --field-selector metadata.name="+i.CASecret)
	}
	return failed(fmt.Sprintf("Secret %s, the CA of %s, not found", where, i), f.createCA())
}
