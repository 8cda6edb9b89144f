// Command seid is the lab's stand-in for the Sei chain daemon.
package main

import (
	"os"

	"sei.io/seictl/e2e/lab/standins/internal/seid"
)

func main() { os.Exit(seid.Main(os.Args[1:], os.Stdout, os.Stderr)) }
