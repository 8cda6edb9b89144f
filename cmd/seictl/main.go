// Command seictl changes what running Sei nodes run.
package main

import (
	"os"

	"sei.io/seictl/internal/cli"
)

func main() { os.Exit(cli.Main()) }
