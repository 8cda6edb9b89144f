package tasks

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

func init() {
	register(v1alpha1.TaskEnsureDataPVC,
		func(p *v1alpha1.TaskParams) *v1alpha1.DataPVCParams { return p.EnsureDataPVC }, ensureDataPVC)
}

// claimPoll is how often to look for a claim that somebody else has to create: nobody watches claims.
const claimPoll = 5 * time.Second

// ensureDataPVC creates the claim of the chain data once and never writes it again. It has no owner, so deleting the
// SeiNode keeps the data, and a claim that was kept is taken up again only if it says whose it is.
func ensureDataPVC(ctx context.Context, env *Env, in Input, p v1alpha1.DataPVCParams) (Result, error) {
	name := in.Node.Namespace + "/" + p.ClaimName
	if err := claimOfOne(ctx, env, in, p.ClaimName); err != nil {
		return Result{}, err
	}
	claim, err := get(ctx, env.Live, in.Node.Namespace, p.ClaimName, &corev1.PersistentVolumeClaim{})
	switch {
	case err != nil:
		return Result{}, err
	case claim == nil && p.Imported:
		return WaitPolling(claimPoll, "PersistentVolumeClaim %s, which the spec imports, does not exist", name), nil
	case claim == nil:
		return createClaim(ctx, env, in, p)
	}
	if err := claimUnused(ctx, env, in, p.ClaimName); err != nil {
		return Result{}, err
	}
	switch {
	case claim.DeletionTimestamp != nil:
		return WaitPolling(claimPoll, "PersistentVolumeClaim %s is being deleted", name), nil
	case claim.Status.Phase == corev1.ClaimLost:
		return Result{}, Terminalf("PersistentVolumeClaim %s has lost its volume: restore the volume, or delete the claim "+
			"to begin with an empty one", name)
	case p.Imported:
		return Completed(nil), nil
	}
	if err := adoptable(in.Node, p, claim); err != nil {
		return Result{}, err
	}
	return Completed(nil), nil
}

func createClaim(ctx context.Context, env *Env, in Input, p v1alpha1.DataPVCParams) (Result, error) {
	claim := resources.DataPVC(resources.OwnerOf(in.Node), p)
	err := env.Client.Create(ctx, claim, client.FieldOwner(FieldManager))
	env.hit("created", in)
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return Result{}, Terminalf("creating PersistentVolumeClaim %s/%s: %w", claim.Namespace, claim.Name, err)
	case err != nil:
		// One that appeared meanwhile is judged by the next run.
		return Result{}, fmt.Errorf("creating PersistentVolumeClaim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return Completed(nil), nil
}

// adoptable says whether an existing claim of our name may be this node's: it has no owner, and its labels name this node
// and its chain.
func adoptable(node *v1alpha1.SeiNode, p v1alpha1.DataPVCParams, claim *corev1.PersistentVolumeClaim) error {
	what := fmt.Sprintf("PersistentVolumeClaim %s/%s", claim.Namespace, claim.Name)
	if len(claim.OwnerReferences) > 0 {
		return foreignObject(what, claim)
	}
	ofNode, ofChain := claim.Labels[v1alpha1.LabelNode], claim.Labels[v1alpha1.LabelChain]
	if ofNode == node.Name && ofChain == p.ChainID {
		return nil
	}
	return Terminalf("%s exists and is labelled as of node %q, chain %q: whose data is it? To use it, run "+
		"`kubectl label pvc -n %s %s --overwrite %s=%s %s=%s`; else give the node another name", what, ofNode, ofChain,
		claim.Namespace, claim.Name, v1alpha1.LabelNode, node.Name, v1alpha1.LabelChain, p.ChainID)
}

// claimOfOne makes sure that no other node uses a claim: two seid on one volume destroy it, and on one key are slashed.
func claimOfOne(ctx context.Context, env *Env, in Input, claim string) error {
	node := in.Node
	nodes := &v1alpha1.SeiNodeList{}
	if err := env.Client.List(ctx, nodes, client.InNamespace(node.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return listError("SeiNodes", err, node)
	}
	for i := range nodes.Items {
		if n := &nodes.Items[i]; n.Name != node.Name && resources.ClaimName(n) == claim {
			return Terminalf("PersistentVolumeClaim %s/%s belongs to SeiNode %s as well: two nodes on one volume destroy its "+
				"data; give one of them another volume", node.Namespace, claim, n.Name)
		}
	}
	return nil
}

// claimUnused makes sure that nobody else's pod uses a claim that is there. Pods are listed live, as the cache need not hold
// those of others; a claim that is not there yet holds nothing, and is not worth reading every pod of the namespace.
func claimUnused(ctx context.Context, env *Env, in Input, claim string) error {
	node := in.Node
	// A page at a time: a namespace may have thousands, and many nodes may begin at once.
	for page := ""; ; {
		pods := &corev1.PodList{}
		err := env.Live.List(ctx, pods, client.InNamespace(node.Namespace), client.Limit(podsPerPage), client.Continue(page))
		if err != nil {
			return listError("pods", err, node)
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			if p.Labels[v1alpha1.LabelNode] != node.Name && active(p) && mounts(p.Spec, ofClaim(claim)) {
				return Terminalf("PersistentVolumeClaim %s/%s is mounted by pod %s, which is not of this node: stop that pod first",
					node.Namespace, claim, p.Name)
			}
		}
		if page = pods.Continue; page == "" {
			return nil
		}
	}
}

// podsPerPage is how many pods are read at once.
const podsPerPage = 100
