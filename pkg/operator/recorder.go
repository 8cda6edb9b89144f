package operator

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// reporter names us in events.
const reporter = "seictl"

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

// eventPatience bounds how long a driver that is done waits for its last events.
const eventPatience = 3 * time.Second

// eventWriter writes events itself, for a driver that ends as soon as its work is done: a broadcaster drops what it still
// has queued then, and the last event is the one that says how it ended.
type eventWriter struct {
	client  client.Client
	pending sync.WaitGroup
}

// Event implements engine.Recorder. That an event cannot be written is no reason to fail: the status says the same.
func (w *eventWriter) Event(node *v1alpha1.SeiNode, eventType, reason, message string) {
	instance, err := os.Hostname()
	if err != nil {
		instance = reporter
	}
	e := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: node.Name + "." + uuid.NewString(), Namespace: node.Namespace},
		EventTime:           metav1.NowMicro(),
		ReportingController: reporter, ReportingInstance: instance,
		Type: eventType, Reason: reason, Action: "Reconcile", Note: note(message),
		Regarding: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "SeiNode", Namespace: node.Namespace, Name: node.Name,
			UID: node.UID, ResourceVersion: node.ResourceVersion,
		},
	}
	w.pending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), eventPatience)
		defer cancel()
		_ = w.client.Create(ctx, e)
	})
}

// flush waits for the events that are on their way.
func (w *eventWriter) flush() { w.pending.Wait() }
