package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

// PreflightCheck is one check before a rollout, made once per issuer and namespace, and how it came out.
type PreflightCheck struct {
	Check string `json:"check"`
	// Result is pass, warn or fail.
	Result string `json:"result"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

// Results of a check.
const (
	passed  = "pass"
	warned  = "warn"
	refused = "fail"
)

// preflight checks what the targets of a rollout need: each issuer once, each namespace once.
func preflight(ctx context.Context, c *factory.Cluster, r *fleet.Record, platform settings.Settings) ([]PreflightCheck, error) {
	out := []PreflightCheck{}
	seen := map[string]bool{}
	for i := range r.Objects {
		o := &r.Objects[i]
		if tls := o.Target; tls != nil && tls.IssuerName != "" {
			key := tls.String()
			if tls.IssuerKind == v1alpha1.IssuerKindIssuer {
				key += " in namespace " + o.Namespace
			}
			if !seen[key] {
				seen[key] = true
				out = append(out, checkIssuer(ctx, c, tls, o.Namespace, key))
			}
		}
		if tls := o.Target; tls != nil && tls.SecretName != "" && !seen["Secret "+o.Namespace+"/"+tls.SecretName] {
			seen["Secret "+o.Namespace+"/"+tls.SecretName] = true
			out = append(out, checkSecret(ctx, c, o.Namespace, tls.SecretName))
		}
		if o.Target != nil && !seen["namespace "+o.Namespace] {
			seen["namespace "+o.Namespace] = true
			out = append(out, checkNamespace(ctx, c, o.Namespace, platform))
		}
	}
	for i := range out {
		if strings.HasPrefix(out[i].Detail, "cannot reach") {
			return nil, fmt.Errorf("%s: %s", out[i].Check, out[i].Detail)
		}
	}
	slices.SortStableFunc(out, func(a, b PreflightCheck) int { return strings.Compare(a.Check, b.Check) })
	return out, nil
}

// failedChecks are the checks that keep a rollout from starting.
func failedChecks(checks []PreflightCheck) []PreflightCheck {
	return slices.DeleteFunc(slices.Clone(checks), func(c PreflightCheck) bool { return c.Result != refused })
}

// unread turns an error of a read into a check.
func unread(check, what, hint string, err error) PreflightCheck {
	switch {
	case factory.NoSuchKind(err):
		return PreflightCheck{check, refused, "the cluster does not know cert-manager", "install cert-manager, or use --secret"}
	case apierrors.IsNotFound(err):
		return PreflightCheck{check, refused, what + " does not exist", hint}
	case apierrors.IsForbidden(err):
		return PreflightCheck{check, warned, "not allowed to look: " + err.Error(), "the canary will tell"}
	case factory.Unreachable(err):
		return PreflightCheck{check, refused, "cannot reach the API server: " + err.Error(), ""}
	}
	return PreflightCheck{check, warned, err.Error(), "the canary will tell"}
}

func checkIssuer(ctx context.Context, c *factory.Cluster, tls *v1alpha1.SidecarTLSConfig, namespace, name string) PreflightCheck {
	check := "issuer " + name
	var issuer cmv1.GenericIssuer
	get := "kubectl get clusterissuers"
	if tls.IssuerKind == v1alpha1.IssuerKindIssuer {
		issuer, get = &cmv1.Issuer{}, "kubectl get issuers -n "+namespace
	} else {
		issuer, namespace = &cmv1.ClusterIssuer{}, ""
	}
	if err := c.Client.Get(ctx, kube.ObjectKey{Namespace: namespace, Name: tls.IssuerName}, issuer); err != nil {
		return unread(check, tls.String(), get, err)
	}
	for _, cond := range issuer.GetStatus().Conditions {
		if cond.Type != cmv1.IssuerConditionReady {
			continue
		}
		if cond.Status == cmmeta.ConditionTrue {
			return PreflightCheck{check, passed, "Ready", ""}
		}
		return PreflightCheck{check, refused, fmt.Sprintf("not Ready: %s: %s", cond.Reason, cond.Message), strings.Replace(get, "get ", "describe ", 1) + " " + tls.IssuerName}
	}
	return PreflightCheck{check, warned, "cert-manager has not said yet whether it is Ready", get}
}

func checkSecret(ctx context.Context, c *factory.Cluster, namespace, name string) PreflightCheck {
	check := fmt.Sprintf("Secret %s/%s", namespace, name)
	var secret corev1.Secret
	if err := c.Client.Get(ctx, kube.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
		return unread(check, check, "provision it: seictl node status shows the required DNS names of each node", err)
	}
	if secret.Type != corev1.SecretTypeTLS {
		return PreflightCheck{check, refused, fmt.Sprintf("its type is %s, not %s", secret.Type, corev1.SecretTypeTLS), "the type of a Secret cannot be changed: make another one"}
	}
	return PreflightCheck{check, passed, "it exists; whether it fits is judged for each node", ""}
}

func checkNamespace(ctx context.Context, c *factory.Cluster, namespace string, platform settings.Settings) PreflightCheck {
	check := "namespace " + namespace
	var sa corev1.ServiceAccount
	if err := c.Client.Get(ctx, kube.ObjectKey{Namespace: namespace, Name: platform.NodeServiceAccount}, &sa); err != nil {
		return unread(check, "ServiceAccount "+platform.NodeServiceAccount,
			"seictl install base --apply --node-namespace "+namespace, err)
	}
	return PreflightCheck{check, passed, "ServiceAccount " + platform.NodeServiceAccount + " exists", ""}
}
