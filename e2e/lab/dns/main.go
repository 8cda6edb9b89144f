// Command dns is CoreDNS with the plugins that the lab's cluster DNS needs. None of them can ask another name server. It
// is a module of its own, as CoreDNS wants later versions of Kubernetes' and etcd's modules than the rest of the lab.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() { coremain.Run() }
