// Command sidecar is the lab's stand-in for the node sidecar.
package main

import (
	"os"

	"sei.io/seictl/e2e/lab/standins/internal/sidecar"
)

func main() { os.Exit(sidecar.Main(os.Stdout)) }
