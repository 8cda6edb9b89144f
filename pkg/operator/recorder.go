package operator

import (
	"strings"

	"k8s.io/client-go/tools/events"

	"sei.io/seictl/api/v1alpha1"
)

// maxEventNote is what the API server accepts as the note of an event, in bytes.
const maxEventNote = 1024

// recorder publishes the engine's events through the events API.
type recorder struct{ events.EventRecorder }

// Event implements engine.Recorder.
func (r recorder) Event(node *v1alpha1.SeiNode, eventType, reason, message string) {
	r.Eventf(node, nil, eventType, reason, "Reconcile", "%s", note(message))
}

// note is a message that the API server accepts.
func note(message string) string {
	if len(message) <= maxEventNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxEventNote-3], "") + "..."
}
