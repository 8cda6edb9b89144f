// Package manifest reads SeiNodes and SeiNodeDeployments from files, as strictly as the API server with the strictest
// options: what it does not know or would refuse is an error that names object, field, found and wanted.
package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"sei.io/seictl/api/v1alpha1"
)

// Object is one object of a file: exactly one of Node and Deployment is set.
type Object struct {
	Node       *v1alpha1.SeiNode
	Deployment *v1alpha1.SeiNodeDeployment
	// HasStatus says that the file holds an observed state.
	HasStatus bool
	// Raw is the object as JSON, as it was written.
	Raw []byte
	// Source names file and document.
	Source string
}

// Stdin is the name of a file that stands for standard input.
const Stdin = "-"

// ReadFiles reads every object of the files, in order.
func ReadFiles(names []string, stdin io.Reader) ([]Object, error) {
	var out []Object
	for _, name := range names {
		data, err := readFile(name, stdin)
		if err != nil {
			return nil, err
		}
		source := name
		if name == Stdin {
			source = "standard input"
		}
		objects, err := Parse(data, source)
		if err != nil {
			return nil, err
		}
		out = append(out, objects...)
	}
	return out, noDuplicates(out)
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == Stdin {
		data, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("file %s does not exist: -f takes a file, or '-' for standard input", name)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("file %s may not be read by this user: check its permissions (ls -l %s)", name, name)
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, nil
}

func noDuplicates(objects []Object) error {
	seen := map[string]string{}
	for _, o := range objects {
		kind, namespace, name := o.identity()
		id := fmt.Sprintf("%s %s/%s", kind, namespace, name)
		if namespace == "" {
			id = kind + " " + name
		}
		if first, dup := seen[id]; dup {
			return fmt.Errorf("%s: %s is given twice, first in %s: leave one out", o.Source, id, first)
		}
		seen[id] = o.Source
	}
	return nil
}

func (o *Object) identity() (kind, namespace, name string) {
	if o.Node != nil {
		return kindNode, o.Node.Namespace, o.Node.Name
	}
	return kindDeployment, o.Deployment.Namespace, o.Deployment.Name
}

const (
	kindNode       = "SeiNode"
	kindDeployment = "SeiNodeDeployment"
)

// Parse reads every object of one file. source names it in errors.
func Parse(data []byte, source string) ([]Object, error) {
	var out []Object
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", source, err)
		}
		objects, err := parseDocument(document, source, n)
		if err != nil {
			return nil, errors.New(printable(err.Error()))
		}
		out = append(out, objects...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no object: wanted a SeiNode, a SeiNodeDeployment or a list of them", source)
	}
	return out, nil
}

func parseDocument(document []byte, source string, n int) ([]Object, error) {
	where := source
	if n > 1 {
		where = fmt.Sprintf("%s, document %d", source, n)
	}
	raw, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, fmt.Errorf("%s is not valid YAML: %s", where, oneLine(err))
	}
	if string(raw) == "null" {
		return nil, nil
	}
	return parseObject(raw, where)
}

// list is what lists have in common.
type list struct {
	Items []json.RawMessage `json:"items"`
}

func parseObject(raw []byte, where string) ([]Object, error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name         string `json:"name"`
			GenerateName string `json:"generateName"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("%s: not a Kubernetes object: %s", where, typeError("", err))
	}
	group := v1alpha1.GroupVersion.String()
	switch {
	case head.Kind == "":
		return nil, fmt.Errorf("%s: kind: missing, wanted %s or %s", where, kindNode, kindDeployment)
	case head.APIVersion == "v1" && head.Kind == "List",
		head.APIVersion == group && (head.Kind == kindNode+"List" || head.Kind == kindDeployment+"List"):
		return parseList(raw, where)
	case head.Kind != kindNode && head.Kind != kindDeployment:
		return nil, fmt.Errorf("%s: kind: found %s %q, wanted %s or %s: apply other objects with kubectl",
			where, head.Kind, head.Metadata.Name, kindNode, kindDeployment)
	case head.APIVersion != group:
		return nil, fmt.Errorf("%s: %s %s: apiVersion: found %q, wanted %q", where, head.Kind, head.Metadata.Name, head.APIVersion, group)
	case head.Metadata.Name == "" && head.Metadata.GenerateName != "":
		return nil, fmt.Errorf("%s: %s: metadata.generateName: not supported: set metadata.name", where, head.Kind)
	}
	o := Object{Raw: raw, Source: where}
	if err := o.decode(head.Kind, head.Metadata.Name); err != nil {
		return nil, err
	}
	return []Object{o}, nil
}

func parseList(raw []byte, where string) ([]Object, error) {
	var l list
	if err := json.Unmarshal(raw, &l); err != nil {
		return nil, fmt.Errorf("%s: items: wanted a list of objects: %w", where, err)
	}
	var out []Object
	for i, item := range l.Items {
		objects, err := parseObject(item, fmt.Sprintf("%s, items[%d]", where, i))
		if err != nil {
			return nil, err
		}
		out = append(out, objects...)
	}
	return out, nil
}

func (o *Object) decode(kind, name string) error {
	var into any
	if kind == kindNode {
		o.Node = &v1alpha1.SeiNode{}
		into = o.Node
	} else {
		o.Deployment = &v1alpha1.SeiNodeDeployment{}
		into = o.Deployment
	}
	problems := strictDecode(o.Raw, into)
	if len(problems) == 0 {
		if kind == kindNode {
			problems = ValidateNode(o.Node)
		} else {
			defaultDeployment(o.Raw, o.Deployment)
			problems = ValidateDeployment(o.Deployment)
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s: %s %s: %s", o.Source, kind, name, strings.Join(problems, "; "))
	}
	var rest struct {
		Status map[string]any `json:"status"`
	}
	if err := json.Unmarshal(o.Raw, &rest); err != nil {
		return fmt.Errorf("%s: %s %s: status: wanted a mapping", o.Source, kind, name)
	}
	o.HasStatus = len(rest.Status) > 0
	return nil
}

// printable escapes what a terminal would not show as text: names and fields in errors are whatever a file holds.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsGraphic(r) && r != utf8.RuneError {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")), " ")
}
