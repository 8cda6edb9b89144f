package engine

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"sei.io/seictl/api/v1alpha1"
)

// foreignControllers are field managers of controllers that drive SeiNodes in another way.
var foreignControllers = []string{"seinode-controller"}

// foreignIsLive is how recent a write must be to count as that of a live controller. One that is idle for longer shows
// itself as soon as it writes again.
const foreignIsLive = 10 * time.Minute

// foreignController names another controller that writes the node and is alive: it wrote a short while ago, and we did not
// drive the node since. until is when that is over, if it does not write again.
func foreignController(node *v1alpha1.SeiNode, now time.Time) (name string, until time.Time) {
	var foreign, own time.Time
	for i := range node.ManagedFields {
		f := &node.ManagedFields[i]
		switch {
		case f.Time == nil:
		case slices.Contains(foreignControllers, f.Manager):
			if f.Time.After(foreign) {
				foreign, name = f.Time.Time, f.Manager
			}
		case f.Manager == FieldManager && f.Subresource == "status":
			if f.Time.After(own) {
				own = f.Time.Time
			}
		}
	}
	until = foreign.Add(foreignIsLive)
	if c := meta.FindStatusCondition(node.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Reason == v1alpha1.ReasonForeignController {
		// All that we wrote was the refusal.
		own = time.Time{}
	}
	if name == "" || !now.Before(until) || !own.IsZero() && !foreign.After(own) {
		return "", time.Time{}
	}
	return name, until
}
