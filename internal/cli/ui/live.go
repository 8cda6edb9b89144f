package ui

import (
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Live is a few lines at the bottom of a terminal that are redrawn. A nil Live draws nothing.
type Live struct {
	out   io.Writer
	width int
	drawn int
	last  string
}

// NewLive draws on a terminal of the given width.
func NewLive(out io.Writer, width int) *Live { return &Live{out: out, width: width} }

// Draw replaces the lines that are there.
func (l *Live) Draw(lines []string) {
	if l == nil {
		return
	}
	for i, line := range lines {
		lines[i] = ansi.Truncate(strings.TrimRight(line, " "), l.width-1, "…")
	}
	text := strings.Join(lines, "\n")
	if text == l.last && l.drawn == len(lines) {
		return
	}
	l.Clear()
	if len(lines) > 0 {
		fmt.Fprintln(l.out, text)
	}
	l.drawn, l.last = len(lines), text
}

// Clear takes the lines away.
func (l *Live) Clear() {
	if l == nil || l.drawn == 0 {
		return
	}
	fmt.Fprint(l.out, strings.Repeat(ansi.CursorUp(1)+ansi.EraseEntireLine, l.drawn)+"\r")
	l.drawn, l.last = 0, ""
}
