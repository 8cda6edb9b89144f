package preview

import (
	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
)

// Restore fills in what JSON leaves out of an item, as far as it shows: whoever reads a saved preview can print it.
func (item *Item) Restore(idle string) {
	item.Decision = plan.Decision{Idle: plan.IdleReason(idle)}
	if item.Plan == nil {
		return
	}
	p := &v1alpha1.Plan{Kind: v1alpha1.PlanKind(item.Plan.Kind)}
	for _, c := range item.Plan.Causes {
		p.Causes = append(p.Causes, v1alpha1.PlanCause(c))
	}
	for _, t := range item.Plan.Tasks {
		p.Tasks = append(p.Tasks, v1alpha1.Task{Type: v1alpha1.TaskType(t.Type), Why: t.Why})
	}
	item.Decision.Plan, item.Decision.New = p, true
}
