package savedplan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEncodeDecode(t *testing.T) {
	data := encoded(t)
	got, err := Decode([]byte(data))
	require.NoError(t, err)
	require.JSONEq(t, `{"spec":{"image":"v2"}}`, string(got.Nodes[0].Edit.Body))
	require.Equal(t, []string{"<&>"}, got.Nodes[0].Preview.Warnings)
	again, err := got.Encode()
	require.NoError(t, err)
	require.Equal(t, data, string(again))
}

// Whoever reformats a file changes nothing of it.
func TestDecodeReformatted(t *testing.T) {
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, []byte(encoded(t))))
	_, err := Decode(compact.Bytes())
	require.NoError(t, err)
}

func TestDecodeRefuses(t *testing.T) {
	data := encoded(t)
	for name, c := range map[string]struct{ data, want string }{
		"nothing":       {"", "it is no saved plan: wanted a file that seictl node plan --out wrote"},
		"a manifest":    {"apiVersion: sei.io/v1alpha1\nkind: SeiNode\n", "it is no saved plan: wanted a file that seictl node plan --out wrote"},
		"another kind":  {`{"kind":"Pod"}`, `it is no saved plan: found kind "Pod", wanted "SavedPlan"`},
		"newer version": {strings.Replace(data, Version, "seictl.sei.io/v9", 1), `it is a saved plan of version "seictl.sei.io/v9", and this seictl knows "seictl.sei.io/v1"`},
		"cut":           {data[:len(data)/2], "it was cut or edited"},
		"edited":        {strings.Replace(data, `"image": "v2"`, `"image": "v3"`, 1), "it was cut or edited"},
		"other types":   {strings.Replace(data, `"nodes": [`, `"nodes": 7, "x": [`, 1), "it was cut or edited"},
		"settings":      {strings.Replace(data, `"clusterDomain": "cluster.local"`, `"clusterDomain": "example"`, 1), "it was cut or edited"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(c.data))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestDecodeValidates(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*File)
		want   string
	}{
		"no name":      {func(f *File) { f.Nodes[0].Name = "" }, "node 1 of the saved plan has no namespace or no name"},
		"twice":        {func(f *File) { f.Nodes = append(f.Nodes, f.Nodes[0]) }, "names SeiNode fleet/ax-0 twice"},
		"unknown edit": {func(f *File) { f.Nodes[0].Edit.Type = "delete" }, `edit.type: found "delete", wanted none, merge-patch or apply`},
		"no body":      {func(f *File) { f.Nodes[0].Edit.Body = []byte(`[]`) }, "edit.body: wanted an object"},
	} {
		t.Run(name, func(t *testing.T) {
			f := file(t)
			c.change(f)
			data, err := f.Encode()
			require.NoError(t, err)
			_, err = Decode(data)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestRecognise(t *testing.T) {
	data := encoded(t)
	require.True(t, Recognise([]byte(data)))
	require.True(t, Recognise([]byte(data[:80])), "one that was cut")
	require.True(t, Recognise([]byte(`{"apiVersion":"seictl.sei.io/v9"}`)), "one of another version")
	for _, other := range []string{"", "ax-0", "{", `{"kind":7}`, `{"apiVersion":"v1","kind":"Pod"}`, "[1]", "kind: SavedPlan"} {
		require.False(t, Recognise([]byte(other)), other)
	}
}

func FuzzDecode(f *testing.F) {
	data := encoded(f)
	for _, seed := range []string{data, data[:100], strings.Replace(data, Version, "seictl.sei.io/v2", 1), "", "{}", "null", `{"kind":"SavedPlan"}`,
		`{"apiVersion":"seictl.sei.io/v1","kind":"SavedPlan","nodes":null}`, `{"apiVersion":"seictl.sei.io/v1","kind":"SavedPlan","nodes":[{}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		Recognise(data)
		got, err := Decode(data)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.Equal(t, Version, got.APIVersion)
		// Whatever can be read can be compared and written again.
		for i := range got.Nodes {
			got.Nodes[i].Compare(Live{}, got.CreatedAt)
		}
		_, err = got.Encode()
		require.NoError(t, err)
	})
}
