// Package version says which build this is. The Makefile sets the variables with the linker.
package version

import "runtime"

var (
	// Version is the tag of the build, or the commit when there is no tag; "dev" when built by hand.
	Version = "dev"
	// Commit is the full hash of the commit; empty when built by hand.
	Commit = ""
)

// Info describes a build.
type Info struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

// Get describes this build.
func Get() Info {
	return Info{Version: Version, Commit: Commit, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
}
