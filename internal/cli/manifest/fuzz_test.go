package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse: whatever a file holds, it is read as what it says or refused in one line that names the file.
func FuzzParse(f *testing.F) {
	samples, err := filepath.Glob("../../../config/samples/*.yaml")
	require.NoError(f, err)
	require.NotEmpty(f, samples)
	for _, name := range samples {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data)
	}
	for _, text := range []string{
		"", "---\n---\n", "null", "[]", "{}", "a: &a [*a]", "a: b: c", "\xff\xfe", "kind: SeiNode\n",
		"apiVersion: sei.io/v1alpha1\nkind: SeiNode\nmetadata: {name: \"a\\nb\"}\n",
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: [{}]}]\n",
		"apiVersion: sei.io/v1alpha1\nkind: SeiNode\nmetadata: {name: a}\nspec: {chainId: a, image: b, fullNode: {}, fullNode: {}}\n",
		"apiVersion: sei.io/v1alpha1\nkind: SeiNodeDeployment\nmetadata: {name: a}\nspec: {replicas: -1, updateStrategy: {maxUnavailable: 101%}}\n",
		"apiVersion: sei.io/v1alpha1\nkind: SeiNode\nmetadata: {name: a}\nspec: {sidecar: {tls: {issuerName: a, secretName: b}}}\nstatus: []\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := Parse(data, "fuzz.yaml")
		if err != nil {
			require.Empty(t, objects)
			require.Contains(t, err.Error(), "fuzz.yaml")
			require.False(t, strings.ContainsAny(err.Error(), "\n\r\x1b"), "%q", err)
			return
		}
		require.NotEmpty(t, objects)
		for i := range objects {
			o := &objects[i]
			require.NotEqual(t, o.Node == nil, o.Deployment == nil)
			_, _, name := o.identity()
			require.NotEmpty(t, name)
			again, err := Parse(o.Raw, o.Source)
			require.NoError(t, err, "what was read once is read again")
			require.Len(t, again, 1)
			require.Equal(t, o.Node, again[0].Node)
			require.Equal(t, o.Deployment, again[0].Deployment)
			require.Equal(t, o.HasStatus, again[0].HasStatus)
		}
	})
}
