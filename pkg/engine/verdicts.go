package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/resources"
)

// verdictCache keeps the verdict on a version of a Secret for each node that uses it, so that a Secret that does not change
// is read once. It holds no key.
type verdictCache struct {
	mu sync.Mutex
	m  map[types.UID]map[types.NamespacedName]cachedVerdict
}

type cachedVerdict struct {
	version string
	want    string
	verdict certs.Verdict
	judged  time.Time
}

// sidecarPoll is how often what no watch can tell is looked at again.
const sidecarPoll = 10 * time.Second

// metadataPatience bounds the wait for the metadata of Secrets: without the right to watch them it never comes.
const metadataPatience = 5 * time.Second

// judgeSecrets judges the Secret of the TLS that runs, or of the spec's while none runs, and the one that the target
// names, when somebody else provisions it.
func (p *pass) judgeSecrets(ctx context.Context) (current, target *certs.Verdict) {
	goal := drift.Target(p.node).SidecarTLS
	running := p.node.Status.CurrentSidecarTLS.Config()
	if running == nil {
		running = goal
	}
	if running != nil {
		v := p.judge(ctx, running)
		current = &v
	}
	switch {
	case goal == nil || goal.SecretName == "":
	case goal.Equal(running):
		target = current
	default:
		v := p.judge(ctx, goal)
		target = &v
	}
	return current, target
}

func (p *pass) judge(ctx context.Context, tls *v1alpha1.SidecarTLSConfig) certs.Verdict {
	params := resources.TLSSecretParamsFor(p.node, tls, p.settings)
	want := certs.Want{Namespace: p.node.Namespace, SecretName: params.SecretName, TLS: *tls, DNSNames: params.DNSNames}
	key := types.NamespacedName{Namespace: p.node.Namespace, Name: params.SecretName}

	version, found, err := p.secretVersion(ctx, key)
	if err == nil && !found {
		return certs.Judge(nil, want, p.now)
	}
	id := fmt.Sprintf("%v", want)
	if v, ok := p.verdicts.lookup(p.node.UID, key, version, id, p.now); ok {
		p.wakeAtBoundary(v)
		return v
	}
	var secret corev1.Secret
	switch err := p.opts.Live.Get(ctx, key, &secret); {
	case apierrors.IsNotFound(err):
		return certs.Judge(nil, want, p.now)
	case err != nil:
		p.wakeAfter(sidecarPoll)
		return certs.Unavailable(fmt.Errorf("reading Secret %s: %w", key, err))
	}
	v := certs.Judge(&secret, want, p.now)
	p.verdicts.store(p.node.UID, key, cachedVerdict{version: secret.ResourceVersion, want: id, verdict: v, judged: p.now})
	p.wakeAtBoundary(v)
	return v
}

// judged is the verdict on the version of a Secret that the cache of Secrets' metadata holds, where it is known already.
func (p *pass) judged(ctx context.Context, want certs.Want) (certs.Verdict, bool) {
	key := types.NamespacedName{Namespace: want.Namespace, Name: want.SecretName}
	version, found, err := p.secretVersion(ctx, key)
	if err != nil || !found {
		return certs.Verdict{}, false
	}
	return p.verdicts.lookup(p.node.UID, key, version, fmt.Sprintf("%v", want), p.opts.Now())
}

// wakeAtBoundary asks for a pass when the certificate becomes valid or expires: no watch tells that.
func (p *pass) wakeAtBoundary(v certs.Verdict) {
	for _, t := range []time.Time{v.NotBefore, v.NotAfter} {
		if t.After(p.now) {
			p.wakeAt(t.Add(time.Second))
		}
	}
}

// secretVersion reads the version of a Secret from the cache of Secrets' metadata; an error means unknown.
func (p *pass) secretVersion(ctx context.Context, key types.NamespacedName) (version string, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, metadataPatience)
	defer cancel()
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	switch err := p.opts.Client.Get(ctx, key, m); {
	case apierrors.IsNotFound(err):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return m.ResourceVersion, true, nil
}

func (c *verdictCache) lookup(node types.UID, key types.NamespacedName, version, want string, now time.Time) (certs.Verdict, bool) {
	v, ok := c.last(node, key)
	if !ok || version == "" || v.version != version || v.want != want {
		return certs.Verdict{}, false
	}
	for _, t := range []time.Time{v.verdict.NotBefore, v.verdict.NotAfter} {
		if !t.IsZero() && !t.Before(v.judged) && !now.Before(t) {
			return certs.Verdict{}, false
		}
	}
	return v.verdict, true
}

// last is the last verdict, whatever became of the Secret since.
func (c *verdictCache) last(node types.UID, key types.NamespacedName) (cachedVerdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[node][key]
	return v, ok
}

func (c *verdictCache) store(node types.UID, key types.NamespacedName, v cachedVerdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[types.UID]map[types.NamespacedName]cachedVerdict{}
	}
	if c.m[node] == nil {
		c.m[node] = map[types.NamespacedName]cachedVerdict{}
	}
	c.m[node][key] = v
}

// forget drops what was kept for a node.
func (c *verdictCache) forget(node types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, node)
}
