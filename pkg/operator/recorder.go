package operator

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// reporter names us in events.
const reporter = "seictl"

// maxEventNote is what the API server accepts as the note of an event, in bytes.
const maxEventNote = 1024

// note is a message that the API server accepts.
func note(message string) string {
	if len(message) <= maxEventNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxEventNote-3], "") + "..."
}

// eventPatience bounds how long a driver that is done waits for its last events.
const eventPatience = 3 * time.Second

// eventWriter writes events itself, each as it is told: events are of transitions, so that there is nothing to fold. A
// broadcaster keeps every event for minutes, writes again when a series of them is over, and drops what it still has queued
// when the process ends; and the last event of a driver is the one that says how it ended.
type eventWriter struct {
	client   client.Client
	instance string
	pending  sync.WaitGroup
}

func newEventWriter(c client.Client) *eventWriter {
	instance, err := os.Hostname()
	if err != nil {
		instance = reporter
	}
	return &eventWriter{client: c, instance: instance}
}

// Event implements engine.Recorder.
func (w *eventWriter) Event(node *v1alpha1.SeiNode, eventType, reason, message string) {
	w.Eventf(node, nil, eventType, reason, "Reconcile", "%s", note(message))
}

// Eventf implements events.EventRecorder. That an event cannot be written is no reason to fail: the status says the same.
func (w *eventWriter) Eventf(regarding, related runtime.Object, eventType, reason, action, format string, args ...any) {
	about, err := reference.GetReference(w.client.Scheme(), regarding)
	if err != nil {
		return
	}
	e := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: about.Name + "." + uuid.NewString(), Namespace: about.Namespace},
		EventTime:           metav1.NowMicro(),
		ReportingController: reporter, ReportingInstance: w.instance,
		Type: eventType, Reason: reason, Action: action, Note: note(fmt.Sprintf(format, args...)), Regarding: *about,
	}
	if related != nil && !reflect.ValueOf(related).IsNil() {
		e.Related, _ = reference.GetReference(w.client.Scheme(), related) // one of no known kind is left out
	}
	w.pending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), eventPatience)
		defer cancel()
		_ = w.client.Create(ctx, e)
	})
}

// flush waits for the events that are on their way.
func (w *eventWriter) flush() { w.pending.Wait() }
