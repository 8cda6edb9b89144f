package preview

import (
	"fmt"
	"strings"

	"sei.io/seictl/internal/cli/ui"
	"sei.io/seictl/internal/dryrun"
	"sei.io/seictl/internal/preflight"
)

// objectsText writes what becomes of objects. Of a new one the diff would only repeat the render: its line is enough.
func objectsText(p *ui.Printer, objects []dryrun.Object) {
	if len(objects) == 0 {
		return
	}
	p.Line("  %s", p.Bold("objects"))
	clientSide := false
	for i := range objects {
		o := &objects[i]
		clientSide = clientSide || o.ClientSide
		if o.Action == dryrun.Unchanged {
			continue
		}
		p.Line("    %-8s %s %s", o.Action, o.Kind, o.Name)
		if o.Action == dryrun.Create && !o.Full {
			continue
		}
		for _, line := range strings.Split(o.Diff, "\n") {
			diffLine(p, o, line)
		}
	}
	if clientSide {
		p.Wrap("    ", "computed by seictl: you may not write these objects, so the API server was not asked what it would make of them")
	}
}

func diffLine(p *ui.Printer, o *dryrun.Object, line string) {
	const indent = "      "
	switch {
	case line == "":
	case o.Action == dryrun.Replace || o.Action == dryrun.Refused:
		p.Wrap(indent, line)
	case strings.HasPrefix(line, "+"):
		p.Line("%s%s", indent, p.Good(line))
	case strings.HasPrefix(line, "-"):
		p.Line("%s%s", indent, p.Bad(line))
	case strings.HasPrefix(line, "~"):
		p.Line("%s%s", indent, p.Warn(line))
	default:
		p.Line("%s%s", indent, line)
	}
}

// PreflightText writes how many checks hold and, in full, those that do not.
func PreflightText(p *ui.Printer, indent string, lines []preflight.Line) {
	if len(lines) == 0 {
		return
	}
	text := fmt.Sprintf("%d ok", preflight.Count(lines, preflight.OK))
	for _, r := range []struct {
		result preflight.Result
		noun   string
	}{{preflight.Failed, "failed"}, {preflight.Warning, "warning"}, {preflight.Skipped, "skipped"}} {
		if n := preflight.Count(lines, r.result); n > 0 {
			text += fmt.Sprintf(", %d %s", n, r.noun)
		}
	}
	p.Line("%s%s  %s", indent, p.Bold("preflight"), text)
	for i := range lines {
		if l := &lines[i]; l.Result == preflight.Failed || l.Result == preflight.Warning {
			LineText(p, indent+"  ", l)
		}
	}
}

// LineText writes one check, with its hint on a line of its own that can be copied.
func LineText(p *ui.Printer, indent string, l *preflight.Line) {
	symbol := l.Result.Symbol()
	switch l.Result {
	case preflight.OK:
		symbol = p.Good(symbol)
	case preflight.Warning:
		symbol = p.Warn(symbol)
	case preflight.Failed:
		symbol = p.Bad(symbol)
	}
	p.Wrap(indent+symbol+" "+l.Check+": ", l.Message)
	if l.Hint != "" && l.Result != preflight.OK {
		p.Line("%s    hint: %s", indent, l.Hint)
	}
}
