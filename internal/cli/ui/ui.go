// Package ui is how seictl looks on a terminal. Nothing else knows of colours, widths and redraws.
package ui

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"golang.org/x/term"
)

// Terminal says what the streams of a process are.
type Terminal struct {
	// In, Out and Err say whether the stream is a terminal.
	In, Out, Err bool
	// Width in columns; 80 when nobody knows.
	Width int
}

// defaultWidth is what text is wrapped at when nobody knows better.
const defaultWidth = 80

// Detect looks at the streams of this process.
func Detect() Terminal {
	is := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	t := Terminal{In: is(os.Stdin), Out: is(os.Stdout), Err: is(os.Stderr), Width: defaultWidth}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 20 {
		t.Width = n
	}
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			t.Width = w
			break
		}
	}
	return t
}

// Modes of --color.
const (
	ColorAuto   = "auto"
	ColorAlways = "always"
	ColorNever  = "never"
)

// UseColor decides whether a stream gets colours.
func UseColor(mode string, tty bool, noColor bool) bool {
	switch mode {
	case ColorAlways:
		return true
	case ColorNever:
		return false
	}
	return tty && !noColor
}

// Printer writes text for people.
type Printer struct {
	// Width to wrap at, in columns.
	Width int
	// Fit cuts the cells of tables with a header to the width: on a terminal, where nobody can cut or search a long line.
	Fit bool
	// Rename edits every line; may be nil.
	Rename func(string) string

	out   io.Writer
	theme *lipgloss.Renderer
}

// NewPrinter writes to out, with colours or without.
func NewPrinter(out io.Writer, color bool, width int) *Printer {
	if width <= 0 {
		width = defaultWidth
	}
	theme := lipgloss.NewRenderer(io.Discard)
	theme.SetColorProfile(termenv.Ascii)
	if color {
		theme.SetColorProfile(termenv.ANSI)
	}
	return &Printer{Width: width, out: out, theme: theme}
}

// Line writes one line as it is.
func (p *Printer) Line(format string, args ...any) {
	line := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	if p.Rename != nil {
		line = p.Rename(line)
	}
	fmt.Fprintln(p.out, line)
}

// Wrap writes text behind a first prefix, wrapped, with later lines indented as far.
func (p *Printer) Wrap(prefix, text string) {
	indent := lipgloss.Width(prefix)
	for i, line := range wrap(text, max(p.Width-indent, 24)) {
		if i > 0 {
			prefix = strings.Repeat(" ", indent)
		}
		p.Line("%s%s", prefix, line)
	}
}

// Bold styles what matters most.
func (p *Printer) Bold(s string) string { return p.theme.NewStyle().Bold(true).Render(s) }

// Dim styles what matters less.
func (p *Printer) Dim(s string) string { return p.theme.NewStyle().Faint(true).Render(s) }

// Good styles success.
func (p *Printer) Good(s string) string { return p.color("2", s) }

// Bad styles failure.
func (p *Printer) Bad(s string) string { return p.color("1", s) }

// Warn styles a warning.
func (p *Printer) Warn(s string) string { return p.color("3", s) }

func (p *Printer) color(c, s string) string {
	return p.theme.NewStyle().Foreground(lipgloss.Color(c)).Render(s)
}

// wrap breaks text at spaces; a word that is too long keeps its line.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case lipgloss.Width(line)+1+lipgloss.Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// Confirm asks a question that is answered with y or n; n by default.
func Confirm(in io.Reader, out io.Writer, question string) (bool, error) {
	fmt.Fprintf(out, "%s [y/N] ", question)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
