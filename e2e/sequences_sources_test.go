//go:build e2e

package e2e

import (
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// secret is the name of the Secret that somebody provisions for the node, and issuer that of an Issuer of its own.
func (w *wanderer) secret() string { return w.name + "-own" }
func (w *wanderer) issuer() string { return w.name + "-ca" }

// changeSecret is what happens to the provisioned Secret: it goes, is somebody else's, or a sound one again.
func (w *wanderer) changeSecret() {
	switch w.rand.IntN(4) {
	case 0:
		w.tell("the provisioned Secret is deleted")
		w.remove(w.secret(), &corev1.Secret{})
	case 1:
		w.tell("the provisioned Secret is somebody else's")
		w.provide(false)
	default:
		w.tell("the provisioned Secret is made, or renewed")
		w.provide(true)
	}
}

// provide writes the provisioned Secret: a sound one, or one for another node.
func (w *wanderer) provide(sound bool) {
	name := w.name
	if !sound {
		name = "somebody"
	}
	w.write(w.ca.secretFor(&Node{s: w.s, name: name}, w.secret()))
}

// issue has the node's own Issuer be there, or not.
func (w *wanderer) issue(there bool) {
	if !there {
		w.remove(w.issuer(), &cmv1.Issuer{})
		return
	}
	w.write(w.ca.secret(w.issuer(), pemOf("CERTIFICATE", w.ca.cert.Raw), keyPEMOf(w.s, w.ca.key)))
	issuer := &cmv1.Issuer{}
	issuer.Name, issuer.Namespace = w.issuer(), w.s.ns
	issuer.Spec.CA = &cmv1.CAIssuer{SecretName: w.issuer()}
	w.write(issuer)
}

// write creates an object, or replaces the one that is there.
func (w *wanderer) write(o client.Object) {
	w.disturb(func() {
		err := w.s.client.Create(w.s.Context(), o)
		if err == nil {
			return
		}
		there := o.DeepCopyObject().(client.Object)
		if err = w.s.get(o.GetName(), there); err == nil {
			o.SetResourceVersion(there.GetResourceVersion())
			err = w.s.client.Update(w.s.Context(), o)
		}
		if err != nil {
			w.tell("writing %T %s: %v", o, o.GetName(), err)
		}
	})
}

// disturb does what changes which certificate the node's pod serves: until a moment later nothing is said of a stamp that
// differs from it.
func (w *wanderer) disturb(do func()) {
	w.eyes.disturbed(w.name, time.Now())
	do()
	w.eyes.disturbed(w.name, time.Now())
}
