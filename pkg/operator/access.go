package operator

import (
	"context"

	authv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"sei.io/seictl/api/v1alpha1"
)

// mayListEverywhere says whether the caller may list and watch SeiNodes and pods in all namespaces.
func mayListEverywhere(ctx context.Context, cfg *rest.Config) bool {
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return false
	}
	for _, r := range []authv1.ResourceAttributes{
		{Group: v1alpha1.GroupVersion.Group, Resource: "seinodes"}, {Resource: "pods"},
	} {
		for _, verb := range []string{"list", "watch"} {
			r.Verb = verb
			review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &r}}
			out, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil || !out.Status.Allowed {
				return false
			}
		}
	}
	return true
}
