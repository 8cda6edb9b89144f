package operator

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"sei.io/seictl/api/v1alpha1"
)

// wakeBuffer is how many wake-ups may be on their way to the queue; more are sent from goroutines of their own.
const wakeBuffer = 1024

// Waker queues nodes that no object's change can wake: those whose turn may have come.
type Waker struct{ ch chan event.GenericEvent }

func newWaker() *Waker { return &Waker{ch: make(chan event.GenericEvent, wakeBuffer)} }

// Wake queues a node. It never blocks: callers hold locks.
func (w *Waker) Wake(key types.NamespacedName) {
	n := &v1alpha1.SeiNode{}
	n.SetNamespace(key.Namespace)
	n.SetName(key.Name)
	e := event.GenericEvent{Object: client.Object(n)}
	select {
	case w.ch <- e:
	default:
		go func() { w.ch <- e }()
	}
}

func (w *Waker) source() source.Source {
	return source.Channel(w.ch, &handler.EnqueueRequestForObject{})
}
