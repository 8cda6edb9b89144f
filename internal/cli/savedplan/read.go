package savedplan

import (
	"encoding/json"
	"fmt"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// Read is everything of a node that its plan is computed from, as a tree of JSON values: the spec, the annotations that
// decide, and what was observed running. What changes all the time is not in it.
func Read(node *v1alpha1.SeiNode) (map[string]any, error) {
	spec := node.Spec.DeepCopy()
	if spec.Sidecar != nil {
		// An issuer kind that is left out is the default: writing it down changes nothing.
		spec.Sidecar.TLS = spec.Sidecar.TLS.Normalize()
	}
	st := &node.Status
	status := map[string]any{"phase": st.Phase, "currentImage": st.CurrentImage}
	if tls := st.CurrentSidecarTLS.Config(); tls != nil {
		status["currentSidecarTLS"] = tls
	}
	if st.AppliedConfigHash != "" {
		status["appliedConfigHash"] = st.AppliedConfigHash
	}
	if st.Hold != nil {
		status["hold"] = st.Hold.Reason
	}
	if p := st.Plan; p.Active() && p.Kind != v1alpha1.MarkReady && p.Kind != v1alpha1.NodeRepair {
		status["plan"] = string(p.Kind) + " " + p.ID
	}
	read := map[string]any{"spec": spec, "status": status}
	annotations := map[string]any{}
	for _, name := range []string{v1alpha1.AnnotationAllowTLSRemoval, v1alpha1.AnnotationRetryRequestedAt} {
		if v, ok := node.Annotations[name]; ok {
			annotations[name] = v
		}
	}
	if len(annotations) > 0 {
		read["metadata"] = map[string]any{"annotations": annotations}
	}
	if node.DeletionTimestamp != nil {
		status["terminating"] = true
	}
	return asTree(read)
}

// ReadSettings are the platform's settings as a tree of JSON values.
func ReadSettings(s settings.Settings) (map[string]any, error) {
	return asTree(map[string]any{"settings": s})
}

// asTree turns values into what JSON makes of them, so that what was read now compares with what was read from a file.
func asTree(v map[string]any) (map[string]any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding what the plan was computed from: %w", err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("decoding what the plan was computed from: %w", err)
	}
	return out, nil
}
