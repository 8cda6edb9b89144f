// Command caller is the lab's stand-in for a service that calls sidecars by their names.
package main

import (
	"os"

	"sei.io/seictl/e2e/lab/standins/internal/caller"
)

func main() { os.Exit(caller.Main(os.Args[1:], os.Stdout)) }
