package ui

import (
	"math"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// gap between columns.
const gap = "  "

// Table writes rows in aligned columns, indented, under a header where there is one. The last column is wrapped into what
// is left of the width; where that is too little it goes on a line of its own.
func (p *Printer) Table(indent string, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	widths := make([]int, 0, 8)
	measure := func(row []string) {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	measure(header)
	for _, row := range rows {
		measure(row)
	}
	left := lipgloss.Width(indent)
	for _, w := range widths[:len(widths)-1] {
		left += w + len(gap)
	}
	if len(header) > 0 {
		// A table with a header is not wrapped: it is read column by column, and cut by whoever pipes it.
		wide := *p
		wide.Width = math.MaxInt
		p = &wide
		p.row(indent, left, widths, styled(header, p.Dim))
	}
	for _, row := range rows {
		p.row(indent, left, widths, row)
	}
}

func styled(cells []string, style func(string) string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		if out[i] = c; c != "" {
			out[i] = style(c)
		}
	}
	return out
}

// minLast is the least width of the last column beside the others.
const minLast = 30

func (p *Printer) row(indent string, left int, widths []int, row []string) {
	var b strings.Builder
	b.WriteString(indent)
	last := len(row) - 1
	for i, cell := range row[:last] {
		b.WriteString(cell + strings.Repeat(" ", widths[i]-lipgloss.Width(cell)) + gap)
	}
	text := row[last]
	switch {
	case lipgloss.Width(text)+left <= p.Width || text == "":
		p.Line("%s%s", b.String(), text)
	case p.Width-left >= minLast:
		p.Wrap(b.String(), text)
	default:
		p.Line("%s", b.String())
		p.Wrap(indent+"    ", text)
	}
}
