package ui

import (
	"math"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
)

// gap between columns.
const gap = "  "

// Table writes rows in aligned columns, indented, under a header where there is one. The last column is wrapped into what
// is left of the width; where that is too little it goes on a line of its own. With a header nothing is wrapped: on a
// terminal the widest cells are cut.
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
	if p.Fit && len(header) > 0 {
		fit(widths, p.Width-lipgloss.Width(indent)-len(gap)*(len(widths)-1))
		rows, header = cut(rows, widths), cut([][]string{header}, widths)[0]
	}
	left := lipgloss.Width(indent)
	for _, w := range widths[:len(widths)-1] {
		left += w + len(gap)
	}
	if len(header) > 0 {
		// It is read column by column, and off a terminal it is cut by whoever pipes it.
		wide := *p
		wide.Width = math.MaxInt
		p = &wide
		p.row(indent, left, widths, styled(header, p.Dim))
	}
	for _, row := range rows {
		p.row(indent, left, widths, row)
	}
}

// minCell is what is left of a cell at least.
const minCell = 8

// fit narrows the widest columns until all of them have room.
func fit(widths []int, room int) {
	total := 0
	for _, w := range widths {
		total += w
	}
	for ; total > room; total-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= minCell {
			return
		}
		widths[widest]--
	}
}

func cut(rows [][]string, widths []int) [][]string {
	out := make([][]string, len(rows))
	for i, row := range rows {
		out[i] = make([]string, len(row))
		for k, cell := range row {
			out[i][k] = ansi.Truncate(cell, widths[k], "…")
		}
	}
	return out
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
