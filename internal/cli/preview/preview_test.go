package preview

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/internal/dryrun"
)

func TestCountPodCycles(t *testing.T) {
	statefulSet := dryrun.Object{Kind: "StatefulSet", Action: dryrun.Update}
	pod := dryrun.Object{Kind: "Pod", Action: dryrun.Replace}
	for name, c := range map[string]struct {
		planned int
		objects []dryrun.Object
		want    int
	}{
		"replaced":                        {1, []dryrun.Object{statefulSet, pod}, 1},
		"came back new after an eviction": {1, []dryrun.Object{statefulSet}, 0},
		"nothing to look at":              {1, nil, 0},
		"refused, so nobody knows":        {1, []dryrun.Object{{Kind: "StatefulSet", Action: dryrun.Refused}}, 1},
		"an initialisation replaces none": {0, []dryrun.Object{statefulSet, pod}, 0},
	} {
		item := Item{PodCycles: c.planned, Objects: c.objects}
		item.CountPodCycles()
		require.Equal(t, c.want, item.PodCycles, name)
	}
}
