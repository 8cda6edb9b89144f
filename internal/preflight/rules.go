package preflight

import (
	"context"
	"slices"

	authzv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rules are all that the caller may do in a namespace.
func (c *Collector) rules(ctx context.Context, namespace string) Read[authzv1.SubjectRulesReviewStatus] {
	return ask(c, "rules/"+namespace, func() Read[authzv1.SubjectRulesReviewStatus] {
		review := &authzv1.SelfSubjectRulesReview{Spec: authzv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
		got, err := c.Kube.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return readOf(authzv1.SubjectRulesReviewStatus{}, err)
		}
		return found(got.Status)
	})
}

// ruled says which of many rights the caller has, with one question for each namespace. A right that no rule has is asked for
// by itself where the cluster says that its rules are not all: a webhook may grant more.
func (c *Collector) ruled(ctx context.Context, rs []Right) []Access {
	out, open := make([]Access, len(rs)), make([]bool, len(rs))
	var read []func()
	for i := range rs {
		if ns := rs[i].Namespace; !slices.ContainsFunc(rs[:i], func(r Right) bool { return r.Namespace == ns }) {
			read = append(read, func() { c.rules(ctx, ns) })
		}
	}
	together(read...)
	var asked []Right
	for i, r := range rs {
		known := c.rules(ctx, r.Namespace)
		out[i] = Access{Right: r, Allowed: slices.ContainsFunc(known.Value.ResourceRules, r.within)}
		if open[i] = !out[i].Allowed && (known.State != Found || known.Value.Incomplete); open[i] {
			asked = append(asked, r)
		}
	}
	answers := c.access(ctx, subject{}, asked)
	for i := range rs {
		if open[i] {
			out[i], answers = answers[0], answers[1:]
		}
	}
	return out
}

// within says whether a rule grants a right.
func (r Right) within(rule authzv1.ResourceRule) bool {
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	return lists(rule.Verbs, r.Verb) && lists(rule.APIGroups, r.Group) &&
		(lists(rule.Resources, resource) || r.Subresource != "" && slices.Contains(rule.Resources, "*/"+r.Subresource)) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Name))
}

func lists(list []string, item string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, item)
}
