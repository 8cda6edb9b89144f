package fleet

import (
	"regexp"
	"slices"
	"strings"
)

// Cause is a shared cause of failures, named once.
type Cause struct {
	Text  string   `json:"cause"`
	Nodes []string `json:"nodes"`
}

// Causes groups the nodes that failed by what failed, the most frequent cause first.
func (r *Record) Causes() []Cause {
	var out []Cause
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Outcome != NodeFailed {
			continue
		}
		text := causeOf(n)
		j := slices.IndexFunc(out, func(c Cause) bool { return c.Text == text })
		if j < 0 {
			j = len(out)
			out = append(out, Cause{Text: text})
		}
		out[j].Nodes = append(out[j].Nodes, n.Namespace+"/"+n.Name)
	}
	for i := range out {
		if len(out[i].Nodes) == 1 {
			// Alone it is told as it is.
			for j := range r.Nodes {
				if r.Nodes[j].Key().String() == out[i].Nodes[0] {
					out[i].Text = r.Nodes[j].Detail
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Cause) int { return len(b.Nodes) - len(a.Nodes) })
	return out
}

var (
	revisions    = regexp.MustCompile(`(NODE-sidecar-tls)-\d+`)
	fingerprints = regexp.MustCompile(`\b[0-9a-f]{40,64}\b`)
	times        = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	numbers      = regexp.MustCompile(`\b(after|height|attempt|place|move \() ?\d+`)
)

// causeOf is why a node failed without what is of this node alone.
func causeOf(n *NodeRecord) string {
	text := replaceWord(n.Detail, n.Name, "NODE")
	text = replaceWord(text, n.Namespace, "NAMESPACE")
	text = revisions.ReplaceAllString(text, "$1-N")
	text = fingerprints.ReplaceAllString(text, "SHA256")
	text = times.ReplaceAllString(text, "TIME")
	return numbers.ReplaceAllString(text, "$1 N")
}

// replaceWord replaces a name where it is not part of a longer word; what follows it behind a hyphen is of the name.
func replaceWord(text, name, by string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, name)
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		end := i + len(name)
		inside := i > 0 && wordly(text[i-1]) || end < len(text) && text[end] != '-' && wordly(text[end])
		b.WriteString(text[:i])
		if inside {
			b.WriteString(name)
		} else {
			b.WriteString(by)
		}
		text = text[end:]
	}
}

func wordly(c byte) bool {
	return c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
