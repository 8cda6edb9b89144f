package engine

import (
	"context"
	"fmt"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/tasks"
)

// gather reads everything that a decision about the node needs, from the cache where there is one.
func (p *pass) gather(ctx context.Context) (*drift.Snapshot, error) {
	s, name := &drift.Snapshot{}, p.node.Name
	var (
		sts    appsv1.StatefulSet
		pod    corev1.Pod
		svc    corev1.Service
		config corev1.ConfigMap
		cert   cmv1.Certificate
	)
	for _, read := range []struct {
		name string
		obj  client.Object
		keep func()
	}{
		{name, &sts, func() { s.StatefulSet = &sts }},
		{resources.PodName(name), &pod, func() { s.Pod = &pod }},
		{name, &svc, func() { s.Service = &svc }},
		{resources.ProxyConfigName(name), &config, func() { s.ProxyConfig = &config }},
		{resources.CertificateName(name), &cert, func() { s.Certificate = &cert }},
	} {
		found, err := p.get(ctx, read.name, read.obj)
		if err != nil {
			return nil, err
		}
		if found && p.ours(s, read.obj) {
			read.keep()
		}
	}
	s.CurrentVerdict, s.TargetVerdict = p.judgeSecrets(ctx)
	var until time.Time
	if s.ForeignController, until = foreignController(p.node, p.now); s.ForeignController != "" {
		p.wakeAt(until)
	}
	p.askSidecar(ctx, s)
	return s, nil
}

// get reads an object of the node's namespace; not found, or of a kind that the cluster does not know, is no error.
func (p *pass) get(ctx context.Context, name string, obj client.Object) (bool, error) {
	err := p.opts.Client.Get(ctx, client.ObjectKey{Namespace: p.node.Namespace, Name: name}, obj)
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return false, nil
	}
	return false, fmt.Errorf("reading %T %s/%s: %w", obj, p.node.Namespace, name, err)
}

// ours says whether an object belongs to the node. A foreign one of our name is as good as absent: applying it then fails
// with its owner's name. A pod belongs to the StatefulSet.
func (p *pass) ours(s *drift.Snapshot, obj client.Object) bool {
	owner := metav1.GetControllerOf(obj)
	if _, isPod := obj.(*corev1.Pod); isPod {
		return s.StatefulSet != nil && owner != nil && owner.UID == s.StatefulSet.UID
	}
	if owner != nil && owner.UID == p.node.UID {
		return true
	}
	by := "no owner"
	if owner != nil {
		by = owner.Kind + " " + owner.Name
	}
	s.Foreign = append(s.Foreign, fmt.Sprintf("%T %s (%s)", obj, obj.GetName(), by))
	return false
}

// refreshStatefulSet reads the StatefulSet from the API server: what follows a plan depends on the live template.
func (p *pass) refreshStatefulSet(ctx context.Context) error {
	var sts appsv1.StatefulSet
	err := p.opts.Live.Get(ctx, client.ObjectKeyFromObject(p.node), &sts)
	switch {
	case apierrors.IsNotFound(err):
		p.snapshot.StatefulSet = nil
		return nil
	case err != nil:
		return fmt.Errorf("reading StatefulSet %s/%s: %w", p.node.Namespace, p.node.Name, err)
	}
	if owner := metav1.GetControllerOf(&sts); owner != nil && owner.UID == p.node.UID {
		p.snapshot.StatefulSet = &sts
	}
	return nil
}

// askSidecar asks the sidecar for its health where the pod's status does not tell: a container that is Ready answered
// 200. In a pod cycle it is not asked: it is parked then, as it should be.
func (p *pass) askSidecar(ctx context.Context, s *drift.Snapshot) {
	if s.Pod == nil || s.Pod.DeletionTimestamp != nil {
		return
	}
	status := sidecarStatus(s.Pod)
	switch {
	case status == nil || status.State.Running == nil:
		s.Sidecar = drift.SidecarUnreachable
		s.SidecarDetail = "its container is not running"
		return
	case status.Ready:
		s.Sidecar = drift.SidecarOK
		return
	case p.node.Status.Phase != v1alpha1.PhaseRunning, p.inPodCycle():
		return
	}
	code, err := p.wire.health(ctx, p.env(), p.node, s.Pod)
	switch {
	case err != nil:
		s.Sidecar, s.SidecarDetail = drift.SidecarUnreachable, err.Error()
	case code == 200:
		s.Sidecar = drift.SidecarOK
	case code == 503:
		s.Sidecar = drift.SidecarParked
	default:
		s.Sidecar, s.SidecarDetail = drift.SidecarUnreachable, fmt.Sprintf("its health path answered %d", code)
	}
	if s.Sidecar != drift.SidecarParked {
		// Nothing tells when it answers again: the readiness probe may not pass for another reason.
		p.wakeAfter(sidecarPoll)
	}
}

func (p *pass) env() *tasks.Env {
	return &tasks.Env{
		Client: p.opts.Client, Live: p.opts.Live, Sidecar: p.opts.Sidecar, Settings: p.settings, Now: p.opts.Now,
		Judged: p.judged,
	}
}

// inPodCycle says whether the active plan has come to its template: the sidecar is down or parked until its mark-ready.
func (p *pass) inPodCycle() bool {
	active := p.node.Status.Plan
	if !active.Active() {
		return false
	}
	i := plan.Current(active)
	return active.Task(v1alpha1.TaskApplyStatefulSet) != nil && i >= 0 && !plan.BeforeTemplate(active, i)
}

// sidecarStatus is the status of the container whose readiness is the sidecar's health path: the proxy's with TLS on,
// else the sidecar's own.
func sidecarStatus(pod *corev1.Pod) *corev1.ContainerStatus {
	var found *corev1.ContainerStatus
	for i := range pod.Status.InitContainerStatuses {
		switch c := &pod.Status.InitContainerStatuses[i]; c.Name {
		case resources.ContainerProxy:
			return c
		case resources.ContainerSidecar:
			found = c
		}
	}
	return found
}
