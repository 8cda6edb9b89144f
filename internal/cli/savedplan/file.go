package savedplan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sei.io/seictl/internal/cli/preview"
)

// Kind and Version of the files that this package writes.
const (
	Kind    = "SavedPlan"
	Version = "seictl.sei.io/v1"
)

// versionPrefix is what every version of the file begins with.
const versionPrefix = "seictl.sei.io/"

// File is a saved plan.
type File struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	CreatedAt  time.Time `json:"createdAt"`
	// Settings of the platform that the plans were computed with, and SettingsSHA256 their digest.
	Settings       map[string]any `json:"settings"`
	SettingsSHA256 string         `json:"settingsSHA256"`
	Nodes          []Node         `json:"nodes"`
	// SHA256 of the nodes and the settings: a file that was cut or edited shows.
	SHA256 string `json:"sha256"`
}

// Node is the plan of one node.
type Node struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID of the node; empty for one that did not exist.
	UID string `json:"uid"`
	// Edit of the spec that leads to the plan.
	Edit Edit `json:"edit"`
	// Read is what the plan was computed from, and ReadSHA256 its digest.
	Read       map[string]any `json:"read"`
	ReadSHA256 string         `json:"readSHA256"`
	// Idle says why nothing would run; empty when something would, or nothing is due.
	Idle string `json:"idle"`
	// Preview as it was shown.
	Preview preview.Item `json:"preview"`
}

// Kinds of edit.
const (
	// NoEdit: the spec stays as it is.
	NoEdit = "none"
	// MergePatch: flags; the body is a merge patch.
	MergePatch = "merge-patch"
	// Apply: a file; the body is what is applied server-side.
	Apply = "apply"
)

// Edit is a change of the object.
type Edit struct {
	Type string          `json:"type"`
	Body json.RawMessage `json:"body,omitempty"`
}

// Encode writes a file. It fills in kind, version and digests.
func (f *File) Encode() ([]byte, error) {
	f.APIVersion, f.Kind = Version, Kind
	for i := range f.Nodes {
		digest, err := digest(f.Nodes[i].Read)
		if err != nil {
			return nil, err
		}
		f.Nodes[i].ReadSHA256 = digest
	}
	var err error
	if f.SettingsSHA256, err = digest(f.Settings); err != nil {
		return nil, err
	}
	nodes, err := json.Marshal(f.Nodes)
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	f.SHA256 = seal(nodes, f.SettingsSHA256)
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	return append(data, '\n'), nil
}

// head is the part of a file that every version has.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Recognise says whether data is a saved plan, of any version, sound or not.
func Recognise(data []byte) bool {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || data[0] != '{' {
		return false
	}
	// A file that was cut is a saved plan all the same: its first lines say so.
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return false
	}
	for range 2 {
		key, err := decoder.Token()
		if err != nil {
			return false
		}
		value, err := decoder.Token()
		if err != nil {
			return false
		}
		if key == "kind" && value == Kind {
			return true
		}
		if text, ok := value.(string); key == "apiVersion" && ok && len(text) > len(versionPrefix) && text[:len(versionPrefix)] == versionPrefix {
			return true
		}
	}
	return false
}

// ErrDamaged says that a file was cut or edited after it was saved.
var ErrDamaged = errors.New("it was cut or edited after it was saved: save the plan again with seictl node plan --out")

// Decode reads a file and checks that it is as it was written.
func Decode(data []byte) (*File, error) {
	var h head
	if err := json.Unmarshal(data, &h); err != nil {
		if Recognise(data) {
			return nil, ErrDamaged
		}
		return nil, errors.New("it is no saved plan: wanted a file that seictl node plan --out wrote")
	}
	switch {
	case h.Kind != Kind:
		return nil, fmt.Errorf("it is no saved plan: found kind %q, wanted %q: wanted a file that seictl node plan --out wrote", h.Kind, Kind)
	case h.APIVersion != Version:
		return nil, fmt.Errorf("it is a saved plan of version %q, and this seictl knows %q: use the seictl that saved it, or save the plan again",
			h.APIVersion, Version)
	}
	var sealed struct {
		Nodes          json.RawMessage `json:"nodes"`
		SettingsSHA256 string          `json:"settingsSHA256"`
		SHA256         string          `json:"sha256"`
	}
	if err := json.Unmarshal(data, &sealed); err != nil {
		return nil, ErrDamaged
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, sealed.Nodes); err != nil || seal(compact.Bytes(), sealed.SettingsSHA256) != sealed.SHA256 {
		return nil, ErrDamaged
	}
	f := &File{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, ErrDamaged
	}
	return f, f.validate()
}

// validate checks what the digest does not: a file can be made by hand.
func (f *File) validate() error {
	if d, err := digest(f.Settings); err != nil || d != f.SettingsSHA256 {
		return ErrDamaged
	}
	seen := map[string]bool{}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		key := n.Namespace + "/" + n.Name
		switch {
		case n.Namespace == "" || n.Name == "":
			return fmt.Errorf("node %d of the saved plan has no namespace or no name: save the plan again", i+1)
		case seen[key]:
			return fmt.Errorf("the saved plan names SeiNode %s twice: save the plan again", key)
		case n.Edit.Type != NoEdit && n.Edit.Type != MergePatch && n.Edit.Type != Apply:
			return fmt.Errorf("SeiNode %s: edit.type: found %q, wanted %s, %s or %s", key, n.Edit.Type, NoEdit, MergePatch, Apply)
		case n.Edit.Type != NoEdit && !isObject(n.Edit.Body):
			return fmt.Errorf("SeiNode %s: edit.body: wanted an object", key)
		}
		if d, err := digest(n.Read); err != nil || d != n.ReadSHA256 {
			return ErrDamaged
		}
		seen[key] = true
	}
	return nil
}

func isObject(raw json.RawMessage) bool {
	var m map[string]any
	return json.Unmarshal(raw, &m) == nil && m != nil
}

func seal(nodes []byte, settings string) string {
	sum := sha256.Sum256(append(append([]byte{}, nodes...), settings...))
	return hex.EncodeToString(sum[:])
}

// digest is the SHA-256 of a value in canonical JSON: encoding/json sorts the keys of maps.
func digest(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
