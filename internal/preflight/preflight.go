// Package preflight checks what must hold before a plan runs, and what must hold in a cluster at all. Facts are gathered
// once; a check is a function of facts that yields a line. One that fails never hides the others, and each that fails has a
// hint: the next command.
package preflight

import "slices"

// Result of a check.
type Result string

// Results.
const (
	// OK: it holds.
	OK Result = "ok"
	// Warning: it works, but somebody should know.
	Warning Result = "warning"
	// Failed: what was planned would not work.
	Failed Result = "failed"
	// Skipped: not needed here, or nobody may tell.
	Skipped Result = "skipped"
)

// Line is what one check says.
type Line struct {
	// Category groups checks; empty in the preflight of a node.
	Category string `json:"category,omitempty"`
	// Check is its stable name.
	Check  string `json:"check"`
	Result Result `json:"result"`
	// Message says what was found.
	Message string `json:"message"`
	// Hint is the next command; empty when there is nothing to do.
	Hint string `json:"hint"`
}

// Symbol is how a result looks in a table.
func (r Result) Symbol() string {
	switch r {
	case OK:
		return "√"
	case Warning:
		return "‼"
	case Failed:
		return "×"
	}
	return "-"
}

func ok(message string) Line            { return Line{Result: OK, Message: message} }
func warning(message, hint string) Line { return Line{Result: Warning, Message: message, Hint: hint} }
func failed(message, hint string) Line  { return Line{Result: Failed, Message: message, Hint: hint} }
func skipped(message string) Line       { return Line{Result: Skipped, Message: message} }

// unless lowers a failure to a warning unless it matters now.
func (l Line) unless(matters bool) Line {
	if !matters && l.Result == Failed {
		l.Result = Warning
	}
	return l
}

// AnyFailed says whether a check failed.
func AnyFailed(lines []Line) bool {
	return slices.ContainsFunc(lines, func(l Line) bool { return l.Result == Failed })
}

// Count is how many lines have a result.
func Count(lines []Line, r Result) int {
	n := 0
	for i := range lines {
		if lines[i].Result == r {
			n++
		}
	}
	return n
}

// First is the first line with a result; nil for none.
func First(lines []Line, r Result) *Line {
	for i := range lines {
		if lines[i].Result == r {
			return &lines[i]
		}
	}
	return nil
}
