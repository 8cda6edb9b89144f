// Command rbac-proxy is the lab's stand-in for kube-rbac-proxy.
package main

import (
	"os"

	"sei.io/seictl/e2e/lab/standins/internal/rbacproxy"
)

func main() { os.Exit(rbacproxy.Main(os.Args[1:])) }
