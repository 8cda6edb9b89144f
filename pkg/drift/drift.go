package drift

import (
	"fmt"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// Subjects of findings.
const (
	SubjectImage       = "image"
	SubjectSidecarTLS  = "sidecarTLS"
	SubjectObjects     = "objects"
	SubjectPodTemplate = "podTemplate"
	SubjectConfig      = "config"
)

// Action is what an object finding asks for.
type Action string

// Actions on objects.
const (
	ActionApply  Action = "apply"
	ActionDelete Action = "delete"
)

// Finding is one disagreement between what a node should run and what was observed.
type Finding struct {
	// Subject is one of the Subject constants.
	Subject string
	// From and To are what was observed and what is wanted; empty for off or absent.
	From, To string
	// Why in one line.
	Why string
	// Cause of the plan that removes it; empty when no plan does.
	Cause v1alpha1.PlanCause
	// Task that restores the object, and what it does; object findings only.
	Task   v1alpha1.TaskType
	Action Action
	// Fields are the paths that differ; template and object findings.
	Fields []string
}

// Report is all that was found.
type Report struct {
	// Findings in the order of the chain.
	Findings []Finding
	// Target is what the node should run: the spec, with running TLS kept unless its removal is consented to.
	Target v1alpha1.PlanTarget
	// Warnings for whoever reads a plan or a status.
	Warnings []string
}

// Has says whether there is a finding with this cause.
func (r *Report) Has(cause v1alpha1.PlanCause) bool {
	for i := range r.Findings {
		if r.Findings[i].Cause == cause {
			return true
		}
	}
	return false
}

// NodeUpdateDue says whether a NodeUpdate is due.
func (r *Report) NodeUpdateDue() bool {
	return r.Has(v1alpha1.ImageDrift) || r.Has(v1alpha1.SidecarTLSDrift)
}

// Causes of the findings, each once, in the order of the chain.
func (r *Report) Causes() []v1alpha1.PlanCause {
	var out []v1alpha1.PlanCause
	for _, c := range []v1alpha1.PlanCause{v1alpha1.ImageDrift, v1alpha1.SidecarTLSDrift, v1alpha1.ObjectDrift} {
		if r.Has(c) {
			out = append(out, c)
		}
	}
	return out
}

// Input of the checks.
type Input struct {
	Node *v1alpha1.SeiNode
	// Snapshot is nil offline: objects and templates are not judged then.
	Snapshot *Snapshot
	Settings *settings.Settings
	// Held says that the NodeUpdate that is due is held: objects are judged all the same.
	Held bool
}

// Check is one named check of the chain.
type Check struct {
	Name string
	// Run returns the report with what the check found added. Values, no pointers: a node without drift is evaluated at
	// every pass, and costs no allocation.
	Run func(Input, Report) Report
}

// Chain is every check, in order. Each is evaluated; none stops the others.
var Chain = []Check{
	// What a NodeUpdate removes.
	{"image", checkImage},
	{"sidecarTLS", checkSidecarTLS},
	{"removal", checkRemoval},
	// What a NodeRepair removes: judged only while no NodeUpdate is due, or it is held or blocked.
	{"objects", checkObjects},
	// What no plan removes by itself: shown, and in effect at the next pod cycle or initialisation.
	{"podTemplate", checkPodTemplate},
	{"config", checkConfig},
}

// Evaluate runs the chain.
func Evaluate(in Input) Report {
	r := Report{Target: Target(in.Node)}
	for i := range Chain {
		r = Chain[i].Run(in, r)
	}
	return r
}

// Target is what the node should run: the image of the spec, and the TLS of the spec or, where the spec has none and
// its removal is not consented to, the TLS that runs. It may share memory with the node: copy it to keep it.
func Target(node *v1alpha1.SeiNode) v1alpha1.PlanTarget {
	t := v1alpha1.PlanTarget{Image: node.Spec.Image}
	spec, current := specTLS(node), node.Status.CurrentSidecarTLS
	switch {
	case spec == nil && node.TLSRemovalAllowed():
	case spec == nil, current != nil && spec.Equal(&current.SidecarTLSConfig):
		t.SidecarTLS = current.Config()
	default:
		t.SidecarTLS = spec.Normalize()
	}
	return t
}

// specTLS is the TLS in the spec as it is written there.
func specTLS(node *v1alpha1.SeiNode) *v1alpha1.SidecarTLSConfig {
	if node.Spec.Sidecar == nil {
		return nil
	}
	return node.Spec.Sidecar.TLS
}

// Image says whether the image drifts.
func Image(node *v1alpha1.SeiNode) bool { return node.Spec.Image != node.Status.CurrentImage }

// SidecarTLS says whether the spec asks for another TLS than runs. A spec without TLS never drifts by itself: removal
// takes consent, see TLSRemoval.
func SidecarTLS(node *v1alpha1.SeiNode) bool {
	spec := specTLS(node)
	if spec == nil {
		return false
	}
	if node.Status.CurrentSidecarTLS == nil {
		return true
	}
	return !spec.Equal(&node.Status.CurrentSidecarTLS.SidecarTLSConfig)
}

// TLSRemoval says whether TLS runs and is gone from the spec, and whether its removal is consented to.
func TLSRemoval(node *v1alpha1.SeiNode) (wanted, allowed bool) {
	wanted = node.Status.CurrentSidecarTLS != nil && specTLS(node) == nil
	return wanted, wanted && node.TLSRemovalAllowed()
}

func checkImage(in Input, r Report) Report {
	if !Image(in.Node) {
		return r
	}
	why := "spec.image differs from the image observed running"
	if in.Node.Status.CurrentImage == "" {
		why = "no image was observed running yet"
	}
	r.Findings = append(r.Findings, Finding{
		Subject: SubjectImage, From: in.Node.Status.CurrentImage, To: in.Node.Spec.Image,
		Why: why, Cause: v1alpha1.ImageDrift,
	})
	return r
}

func checkSidecarTLS(in Input, r Report) Report {
	if !SidecarTLS(in.Node) {
		return r
	}
	from, to := in.Node.Status.CurrentSidecarTLS.Config().String(), in.Node.SidecarTLS().String()
	why := "spec.sidecar.tls differs from the TLS observed serving"
	if from == "" {
		why = "spec.sidecar.tls is set and no TLS was observed serving"
	}
	r.Findings = append(r.Findings, Finding{
		Subject: SubjectSidecarTLS, From: from, To: to, Why: why, Cause: v1alpha1.SidecarTLSDrift,
	})
	return r
}

func checkRemoval(in Input, r Report) Report {
	wanted, allowed := TLSRemoval(in.Node)
	if !wanted {
		return r
	}
	from := in.Node.Status.CurrentSidecarTLS.Config().String()
	if allowed {
		r.Findings = append(r.Findings, Finding{
			Subject: SubjectSidecarTLS, From: from, Cause: v1alpha1.SidecarTLSDrift,
			Why: "spec.sidecar.tls was removed, and the annotation " + v1alpha1.AnnotationAllowTLSRemoval + " consents",
		})
		return r
	}
	r.Warnings = append(r.Warnings, RemovalWarning(in.Node, from))
	return r
}

// RemovalWarning says that a node keeps running TLS that is gone from its spec, and how to go either way.
func RemovalWarning(node *v1alpha1.SeiNode, from string) string {
	return fmt.Sprintf("spec.sidecar.tls was removed while TLS runs from %s: the node keeps TLS. "+
		"To remove it: seictl node apply %s -n %s --no-tls (sets the annotation %s: \"true\"); to keep it, put spec.sidecar.tls back",
		from, node.Name, node.Namespace, v1alpha1.AnnotationAllowTLSRemoval)
}
