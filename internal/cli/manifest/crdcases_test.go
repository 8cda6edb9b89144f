package manifest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/internal/crdcases"
)

// TestSameAsCRD: what the schema of the CRD refuses when an object is created is refused before it is sent, and what it
// accepts is accepted.
func TestSameAsCRD(t *testing.T) {
	for _, c := range crdcases.All() {
		t.Run(c.Kind+"/"+c.Name, func(t *testing.T) {
			o, err := c.Created()
			require.NoError(t, err)
			raw, err := o.MarshalJSON()
			require.NoError(t, err)
			_, err = Parse(raw, "file")
			if c.Reject == "" || c.Update != "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestSameAsCRDOnUpdate(t *testing.T) {
	for _, c := range crdcases.All() {
		if c.Kind != crdcases.Node || c.Update == "" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			before, err := c.Created()
			require.NoError(t, err)
			after, err := c.Updated(before)
			require.NoError(t, err)
			rawBefore, err := before.MarshalJSON()
			require.NoError(t, err)
			rawAfter, err := after.MarshalJSON()
			require.NoError(t, err)
			a, err := Parse(rawBefore, "live")
			require.NoError(t, err)
			b, err := Parse(rawAfter, "file")
			refused := err != nil || len(ValidateChange(&a[0].Node.Spec, &b[0].Node.Spec)) > 0
			require.Equal(t, c.Reject != "", refused)
		})
	}
}
