package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/pkg/settings"
)

// Collector gathers facts. It asks each question once, however many nodes need the answer.
type Collector struct {
	Client client.Reader
	Kube   kubernetes.Interface
	Now    func() time.Time

	mu   sync.Mutex
	memo map[string]*answer
}

// answer is one question's.
type answer struct {
	once  sync.Once
	value any
}

// ask asks a question once.
func ask[T any](c *Collector, key string, f func() T) T {
	c.mu.Lock()
	if c.memo == nil {
		c.memo = map[string]*answer{}
	}
	a := c.memo[key]
	if a == nil {
		a = &answer{}
		c.memo[key] = a
	}
	c.mu.Unlock()
	a.once.Do(func() { a.value = f() })
	return a.value.(T)
}

// together runs functions at once, a few at a time.
func together(fs ...func()) {
	const most = 8
	slots := make(chan struct{}, most)
	var wg sync.WaitGroup
	for _, f := range fs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f()
		})
	}
	wg.Wait()
}

// exists says whether an object is there.
func (c *Collector) exists(ctx context.Context, o client.Object, namespace, name string) Read[bool] {
	return ask(c, fmt.Sprintf("%T/%s/%s", o, namespace, name), func() Read[bool] {
		return readOf(true, c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o))
	})
}

// settings are those of the platform, as they are written.
func (c *Collector) settings(ctx context.Context) Read[settings.Settings] {
	return ask(c, "settings", func() Read[settings.Settings] {
		var cm corev1.ConfigMap
		if err := c.Client.Get(ctx, client.ObjectKey{Namespace: settings.Namespace, Name: settings.ConfigMapName}, &cm); err != nil {
			r := readOf(settings.Default(), err)
			r.Value = settings.Default()
			return r
		}
		return readOf(settings.Parse(cm.Data))
	})
}

func (c *Collector) schemas(ctx context.Context) Read[Schemas] {
	return ask(c, "schemas", func() Read[Schemas] {
		s, err := schemasOf(ctx, c.Kube.Discovery().OpenAPIV3())
		if err == nil {
			s.ask(c.Kube.Discovery())
		}
		return readOf(s, err)
	})
}

// Me is who the caller is.
type Me struct{ User string }

// userOf is the caller as a command names them.
func userOf(me Read[Me]) string {
	if me.State == Found {
		return me.Value.User
	}
	return "USER"
}

func (c *Collector) me(ctx context.Context) Read[Me] {
	return ask(c, "me", func() Read[Me] {
		r, err := c.Kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authnv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return readOf(Me{}, err)
		}
		return found(Me{User: r.Status.UserInfo.Username})
	})
}

// subject is who may do something; the caller when it is empty.
type subject struct {
	user   string
	groups []string
}

// serviceAccount is the subject of a ServiceAccount.
func serviceAccount(namespace, name string) subject {
	return subject{user: "system:serviceaccount:" + namespace + ":" + name,
		groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}}
}

// access says which of the rights somebody has.
func (c *Collector) access(ctx context.Context, who subject, rs []Right) []Access {
	out := make([]Access, len(rs))
	fs := make([]func(), len(rs))
	for i, r := range rs {
		fs[i] = func() {
			out[i] = ask(c, fmt.Sprintf("access/%s/%+v", who.user, r), func() Access { return c.review(ctx, who, r) })
		}
	}
	together(fs...)
	return out
}

func (c *Collector) review(ctx context.Context, who subject, r Right) Access {
	attributes := &authzv1.ResourceAttributes{
		Namespace: r.Namespace, Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Name: r.Name,
	}
	if who.user == "" {
		review := &authzv1.SelfSubjectAccessReview{Spec: authzv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes}}
		got, err := c.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return Access{Right: r, Allowed: err == nil && got.Status.Allowed, Err: err}
	}
	review := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
		User: who.user, Groups: who.groups, ResourceAttributes: attributes,
	}}
	got, err := c.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	return Access{Right: r, Allowed: err == nil && got.Status.Allowed, Err: err}
}

// Issuer is what is known of an issuer of cert-manager.
type Issuer struct {
	Kind, Namespace, Name string
	// Ready is the status of its condition; empty while nobody has judged it.
	Ready string
	// Reason and Message of the condition.
	Reason, Message string
	// Current says that the condition is of the issuer's present generation.
	Current bool
	// CASecret is the Secret of a CA issuer; empty for others.
	CASecret string
	// Since is when it was created.
	Since time.Time
}

func (i Issuer) String() string { return i.Kind + " " + i.Name }

// described is the command that shows an issuer.
func (i Issuer) described() string {
	cmd := "kubectl describe " + strings.ToLower(i.Kind) + " " + i.Name
	if i.Namespace != "" {
		cmd += " -n " + i.Namespace
	}
	return cmd
}

// issuer reads one issuer; namespace counts for the kind Issuer only.
func (c *Collector) issuer(ctx context.Context, kind, namespace, name string) Read[Issuer] {
	var o cmv1.GenericIssuer = &cmv1.ClusterIssuer{}
	if kind == cmv1.IssuerKind {
		o = &cmv1.Issuer{}
	} else {
		namespace = ""
	}
	return ask(c, "issuer/"+kind+"/"+namespace+"/"+name, func() Read[Issuer] {
		err := c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o.(client.Object))
		if err != nil {
			return readOf(Issuer{Kind: kind, Namespace: namespace, Name: name}, err)
		}
		return found(issuerOf(kind, o))
	})
}

func issuerOf(kind string, o cmv1.GenericIssuer) Issuer {
	i := Issuer{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Since: o.GetCreationTimestamp().Time}
	if ca := o.GetSpec().CA; ca != nil {
		i.CASecret = ca.SecretName
	}
	for _, cond := range o.GetStatus().Conditions {
		if cond.Type == cmv1.IssuerConditionReady {
			i.Ready, i.Reason, i.Message = string(cond.Status), cond.Reason, cond.Message
			i.Current = cond.ObservedGeneration >= o.GetGeneration()
		}
	}
	return i
}

// issuers are all that a node of a namespace could name.
func (c *Collector) issuers(ctx context.Context, namespace string) []Issuer {
	return ask(c, "issuers/"+namespace, func() []Issuer {
		var out []Issuer
		var cluster cmv1.ClusterIssuerList
		if c.Client.List(ctx, &cluster) == nil {
			for i := range cluster.Items {
				out = append(out, issuerOf(cmv1.ClusterIssuerKind, &cluster.Items[i]))
			}
		}
		var local cmv1.IssuerList
		if c.Client.List(ctx, &local, client.InNamespace(namespace)) == nil {
			for i := range local.Items {
				out = append(out, issuerOf(cmv1.IssuerKind, &local.Items[i]))
			}
		}
		slices.SortStableFunc(out, func(a, b Issuer) int { return strings.Compare(a.Name, b.Name) })
		return out
	})
}
