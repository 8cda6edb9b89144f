// Package output writes the documents of commands: as JSON, YAML or names.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Formats of -o.
const (
	Table = "table"
	JSON  = "json"
	YAML  = "yaml"
	Name  = "name"
)

// Format is the value of -o.
type Format struct {
	value   string
	allowed []string
}

// NewFormat is -o with a table as the default.
func NewFormat(allowed ...string) Format {
	return Format{value: Table, allowed: append([]string{Table}, allowed...)}
}

// AddFlag adds -o.
func (f *Format) AddFlag(fs *pflag.FlagSet) {
	fs.VarP(f, "output", "o", "output format: "+strings.Join(f.allowed, ", "))
}

// String is the format.
func (f *Format) String() string { return f.value }

// Type names the value in help texts.
func (f *Format) Type() string { return "FORMAT" }

// Allowed are the formats, for completion.
func (f *Format) Allowed() []string { return f.allowed }

// Set checks and sets the format.
func (f *Format) Set(s string) error {
	if !slices.Contains(f.allowed, s) {
		return fmt.Errorf("found %q, wanted %s", s, strings.Join(f.allowed, ", "))
	}
	f.value = s
	return nil
}

// Machine says whether the output is a document for programs.
func (f *Format) Machine() bool { return f.value == JSON || f.value == YAML }

// Write writes a document as JSON or YAML.
func (f *Format) Write(w io.Writer, document any) error {
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the output: %w", err)
	}
	if f.value == YAML {
		if data, err = yaml.JSONToYAML(data); err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		data = []byte(strings.TrimRight(string(data), "\n"))
	}
	if _, err := fmt.Fprintln(w, string(data)); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// NodeName is a SeiNode as kubectl's -o name writes it.
func NodeName(name string) string { return "seinode.sei.io/" + name }
