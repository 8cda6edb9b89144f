package factory

import (
	"regexp"
	"strings"
)

// CommandName is the name of the program, unless it was called by another.
const CommandName = "seictl"

// invocation is a command of seictl in a text.
var invocation = regexp.MustCompile(`\bseictl (node|fleet|check|install|operator|version|completion)\b`)

// Rename has the commands in a text use the name that the program was called by.
func (f *Factory) Rename(text string) string {
	if f.Command == "" || f.Command == CommandName {
		return text
	}
	// What was renamed before stays as it is.
	text = strings.ReplaceAll(text, f.Command+" ", CommandName+" ")
	return invocation.ReplaceAllString(text, f.Command+" $1")
}
