package lab

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// chains each get a CA of their own, as a ClusterIssuer.
var chains = []string{"arctic-1", "atlantic-2", "pacific-1"}

const clusterObjects = `apiVersion: v1
kind: Namespace
metadata: {name: cert-manager}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: lab-hostpath
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: seictl.lab/hostpath
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
`

const issuerObjects = `---
apiVersion: v1
kind: Secret
metadata: {name: %[1]s-ca, namespace: cert-manager}
type: kubernetes.io/tls
data:
  tls.crt: %[2]s
  tls.key: %[3]s
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: %[1]s-ca}
spec:
  ca: {secretName: %[1]s-ca}
`

// kubectl runs the lab's kubectl as the administrator.
func (e *Env) kubectl(stdin string, args ...string) (string, error) {
	return run(stdin, e.bin("labkube"), append([]string{"kubectl", "--kubeconfig", e.Kubeconfig()}, args...)...)
}

// apply applies objects as the lab's own field manager.
func (e *Env) apply(stdin string, args ...string) error {
	_, err := e.kubectl(stdin, append([]string{"apply", "--server-side", "--force-conflicts", "--field-manager=seictl-lab"}, args...)...)
	return err
}

// setUpCluster fills the cluster with what the lab promises: cert-manager, a
// CA per chain, storage, DNS, and seictl's own base. What was done is not repeated
// unless its input changed.
func (e *Env) setUpCluster(ctx context.Context) error {
	if !e.done("objects", clusterObjects) {
		err := e.step("CRDs and storage class", func() error {
			if err := e.apply(clusterObjects, "-f", "-"); err != nil {
				return err
			}
			return e.apply("", "-f", filepath.Join(e.Cache, "share", "crds"))
		})
		if err != nil {
			return err
		}
		if err := e.markDone("objects", clusterObjects); err != nil {
			return err
		}
	}
	if err := e.setUpDNS(); err != nil {
		return err
	}
	// These want their CRDs or their roles to be there.
	for _, c := range e.components() {
		if (c.name == "cert-manager" || c.name == clusterDNS) && e.mustStart(ctx, c) {
			if err := e.step(c.name, func() error { return e.start(ctx, c) }); err != nil {
				return err
			}
		}
	}
	if !e.done("issuers", "") {
		if err := e.step("issuers ready", e.makeIssuers); err != nil {
			return err
		}
		if err := e.markDone("issuers", ""); err != nil {
			return err
		}
	}
	if err := e.waitNode(); err != nil {
		return err
	}
	return e.installBase()
}

// makeIssuers makes a CA and a ClusterIssuer for each chain.
func (e *Env) makeIssuers() error {
	var objects strings.Builder
	var names []string
	b64 := base64.StdEncoding.EncodeToString
	for _, chain := range chains {
		ca, _, _, err := newCA(chain + " lab CA")
		if err != nil {
			return err
		}
		fmt.Fprintf(&objects, issuerObjects, chain, b64(ca.cert), b64(ca.key))
		names = append(names, "clusterissuer/"+chain+"-ca")
	}
	// The CRDs' resources appear a moment after the CRDs.
	if _, err := e.kubectl("", "wait", "--for=condition=Established", "--timeout=60s", "crd/clusterissuers.cert-manager.io"); err != nil {
		return err
	}
	if err := e.apply(objects.String(), "-f", "-"); err != nil {
		return err
	}
	_, err := e.kubectl("", append([]string{"wait", "--for=condition=Ready", "--timeout=60s"}, names...)...)
	return err
}

// waitNode waits until the node takes pods.
func (e *Env) waitNode() error {
	const query = `jsonpath={.status.conditions[?(@.type=="Ready")].status}`
	if out, err := e.kubectl("", "get", "node", e.node, "-o", query); err == nil && out == "True" {
		return nil
	}
	return e.step("node ready", func() error {
		// kubelet makes its node, so there is a time without one.
		for _, condition := range []string{"create", "condition=Ready"} {
			_, err := e.kubectl("", "wait", "--for="+condition, "--timeout="+bootTime.String(), "node/"+e.node)
			if err != nil {
				kubelet := "kubelet"
				if e.sim() {
					kubelet = simulator
				}
				return fmt.Errorf("%w; the end of %s's log:\n%s", err, kubelet, e.logTail(kubelet))
			}
		}
		return nil
	})
}

// installBase installs seictl's CRDs and roles with seictl itself, then the
// lab's own manifests, when either changed.
func (e *Env) installBase() error {
	stamp := exeStamp(e.Bin)
	if stamp == "" {
		e.say("warning: no binary %s: the cluster has no SeiNodes yet (make build, then lab up again)", e.Bin)
		return nil // the lab's manifests are of seictl's namespace
	}
	if !e.done("base", stamp) {
		err := e.step("seictl install base", func() error {
			_, err := run("", e.Bin, "install", "base", "--apply", "--kubeconfig", e.Kubeconfig())
			return err
		})
		if err != nil {
			return err
		}
		if err := e.markDone("base", stamp); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(e.Repo, "manifests", "*.yaml"))
	if err != nil {
		return fmt.Errorf("listing the lab's manifests: %w", err)
	}
	if len(files) == 0 {
		return nil
	}
	// They override what seictl installs, so they follow it.
	all := stamp
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading the lab's manifests: %w", err)
		}
		all += string(data)
	}
	if e.done("manifests", all) {
		return nil
	}
	if err := e.step("lab manifests", func() error { return e.apply("", "-f", filepath.Join(e.Repo, "manifests")) }); err != nil {
		return err
	}
	return e.markDone("manifests", all)
}

// done says whether a step was completed with this input.
func (e *Env) done(name, input string) bool {
	data, err := os.ReadFile(e.path("done", name))
	return err == nil && string(data) == input
}

func (e *Env) markDone(name, input string) error {
	return writeFile(e.path("done", name), []byte(input), 0o644)
}

// errDown is what status ends with unless all is well.
var errDown = errors.New("the lab is not up, or not all of it")

// Kubectl becomes the lab's kubectl, as its administrator.
func Kubectl(e *Env, args []string) error {
	argv := append([]string{"kubectl", "--kubeconfig", e.Kubeconfig()}, args...)
	if err := syscall.Exec(e.bin("labkube"), argv, os.Environ()); err != nil {
		return fmt.Errorf("running kubectl: %w", err)
	}
	return nil
}
