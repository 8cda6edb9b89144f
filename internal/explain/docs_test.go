package explain

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever decides by a code finds it in the documentation and in the schema.
func TestEveryCodeIsDocumented(t *testing.T) {
	read := func(path ...string) string {
		data, err := os.ReadFile(filepath.Join(path...))
		require.NoError(t, err)
		return string(data)
	}
	docs := filepath.Join("..", "..", "docs")
	page, schema := read(docs, "json.md"), read(docs, "schemas", "node-explain.json")
	codes := regexp.MustCompile(`Code = "(\w+)"`).FindAllStringSubmatch(read("codes.go"), -1)
	require.NotEmpty(t, codes)
	for _, c := range codes {
		require.Contains(t, page, "| `"+c[1]+"` |")
		require.Contains(t, schema, `"`+c[1]+`"`)
	}
}
