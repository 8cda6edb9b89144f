package engine

import (
	"slices"
	"time"

	"sei.io/seictl/api/v1alpha1"
)

// foreignControllers are field managers of controllers that drive SeiNodes in another way.
var foreignControllers = []string{"seinode-controller"}

// foreignIsLive is how recent a write must be to count as that of a live controller, where we never wrote ourselves.
const foreignIsLive = 10 * time.Minute

// foreignController names another controller that writes the node and is alive: it wrote after us or, where we never
// wrote, a short while ago. Empty for none.
func foreignController(node *v1alpha1.SeiNode, now time.Time) string {
	var foreign, own time.Time
	name := ""
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
	switch {
	case name == "":
		return ""
	case own.IsZero() && now.Sub(foreign) < foreignIsLive, !own.IsZero() && foreign.After(own):
		return name
	}
	return ""
}
