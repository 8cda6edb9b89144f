package node

import (
	"context"
	"fmt"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/output"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/resources"
)

// RetryOptions of `seictl node retry`.
type RetryOptions struct {
	*factory.Factory
	Selection Selection
	Output    output.Format
	Driving   DriveFlags
	// NoWait asks for another attempt and leaves it to whoever drives.
	NoWait bool
}

// NewCmdRetry returns `seictl node retry`.
func NewCmdRetry(f *factory.Factory, runF func(context.Context, *RetryOptions) error) *cobra.Command {
	o := &RetryOptions{Factory: f, Output: output.NewFormat(output.JSON, output.YAML, output.Name)}
	cmd := &cobra.Command{
		Use:   "retry (NAME... | -l SELECTOR | --chain CHAIN)",
		Short: "Try again what failed, and see it through",
		Long: "End a hold and try again. Where cert-manager gave up on the certificate it is asked to issue anew instead of\n" +
			"waiting out its back-off.",
		Example: "  seictl node retry ax-0 -n fleet",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Selection.Names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return retryRun(cmd.Context(), o)
		},
	}
	o.Selection.AddFlags(cmd.Flags(), false)
	o.Output.AddFlag(cmd.Flags())
	o.Driving.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&o.NoWait, "no-wait", false, "leave the attempt to whoever drives")
	return cmd
}

func retryRun(ctx context.Context, o *RetryOptions) error {
	if err := o.Selection.Validate(false); err != nil {
		return err
	}
	ctx, cancel := factory.WithTimeout(ctx, o.Driving.Timeout)
	defer cancel()
	r := &resolver{f: o.Factory, selection: o.Selection}
	targets, err := r.resolve(ctx)
	if err != nil {
		return err
	}
	c, err := o.Cluster()
	if err != nil {
		return err
	}
	s := session{Factory: o.Factory, cluster: c, flags: &o.Driving, output: &o.Output}
	d, err := s.driver(ctx, r)
	if err != nil {
		return err
	}
	if !o.NoWait {
		if err := s.acquire(ctx, d); err != nil {
			return err
		}
		defer s.release(ctx, d)
	}
	stamp := o.Now().UTC().Format(time.RFC3339Nano)
	goals := make([]drive.Goal, len(targets))
	for i := range targets {
		n, err := requestRetry(ctx, c, targets[i].node, stamp)
		if err != nil {
			return err
		}
		reissued, err := reissue(ctx, c, n, o.Now())
		if err != nil {
			return err
		}
		key := client.ObjectKeyFromObject(n)
		d.Progress.Say("%s  retry requested", key)
		if reissued {
			d.Progress.Say("%s  cert-manager is asked to issue Certificate %s anew", key, resources.CertificateName(n.Name))
		}
		goals[i] = drive.Goal{Key: key, Generation: n.Generation, Since: o.Now(), Retry: stamp}
	}
	if o.NoWait {
		return nil
	}
	results, err := d.Run(ctx, goals)
	return s.finish(results, err)
}

// requestRetry sets the annotation; any new value counts, so nothing else of the node matters.
func requestRetry(ctx context.Context, c *factory.Cluster, n *v1alpha1.SeiNode, stamp string) (*v1alpha1.SeiNode, error) {
	before := n.DeepCopy()
	after := n.DeepCopy()
	if after.Annotations == nil {
		after.Annotations = map[string]string{}
	}
	after.Annotations[v1alpha1.AnnotationRetryRequestedAt] = stamp
	if err := c.Client.Patch(ctx, after, client.MergeFrom(before), client.FieldOwner(factory.FieldOwner)); err != nil {
		return nil, c.Explain(err, "patch", "seinodes", n.Namespace, n.Name)
	}
	return after, nil
}

// Reissue asks cert-manager to issue the certificate of a node anew, where it gave up on it, and says whether it did.
func Reissue(ctx context.Context, c *factory.Cluster, n *v1alpha1.SeiNode, now time.Time) (bool, error) {
	return reissue(ctx, c, n, now)
}

// reissue sets the Issuing condition, as `cmctl renew` does, on a Certificate whose issuance failed for good.
func reissue(ctx context.Context, c *factory.Cluster, n *v1alpha1.SeiNode, now time.Time) (bool, error) {
	target := drift.Target(n).SidecarTLS
	if target == nil || target.IssuerName == "" {
		return false, nil
	}
	name := resources.CertificateName(n.Name)
	var cert cmv1.Certificate
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: n.Namespace, Name: name}, &cert)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return false, nil
	case err != nil:
		return false, c.Explain(err, "get", "certificates", n.Namespace, name)
	}
	var requests cmv1.CertificateRequestList
	if err := c.Client.List(ctx, &requests, client.InNamespace(n.Namespace)); err != nil {
		return false, c.Explain(err, "list", "certificaterequests", n.Namespace, "")
	}
	if i := certs.JudgeIssuance(&cert, requests.Items, *target, now); !i.Denied && i.RetryAt == nil {
		return false, nil
	}
	setIssuing(&cert, now)
	if err := c.Client.Status().Update(ctx, &cert, client.FieldOwner(factory.FieldOwner)); err != nil {
		return false, fmt.Errorf("asking cert-manager to issue again: %w", c.Explain(err, "update", "certificates/status", n.Namespace, name))
	}
	return true, nil
}

func setIssuing(cert *cmv1.Certificate, now time.Time) {
	at := metav1.NewTime(now)
	issuing := cmv1.CertificateCondition{
		Type: cmv1.CertificateConditionIssuing, Status: cmmeta.ConditionTrue, Reason: "ManuallyTriggered",
		Message: "re-issuance was asked for by seictl node retry", LastTransitionTime: &at, ObservedGeneration: cert.Generation,
	}
	for i := range cert.Status.Conditions {
		if cert.Status.Conditions[i].Type == cmv1.CertificateConditionIssuing {
			cert.Status.Conditions[i] = issuing
			return
		}
	}
	cert.Status.Conditions = append(cert.Status.Conditions, issuing)
}
