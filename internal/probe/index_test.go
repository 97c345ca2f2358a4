package probe

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestIndexIsAMap checks the index against a map, with tags so few that probe
// sequences run into each other all the time.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index
		model := map[uint32]uint32{} // position → tag
		tags := rapid.OneOf(rapid.Uint32Range(0, 3), rapid.SampledFrom([]uint32{0, 1 << 31, ^uint32(0), ^uint32(0) - 1}), rapid.Uint32())
		next := uint32(0)
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				tag := tags.Draw(t, "tag")
				x.Insert(tag, next)
				model[next] = tag
				next++
			},
			"remove": func(t *rapid.T) {
				pos, tag, ok := any(t, model)
				if !ok {
					t.Skip("empty")
				}
				x.Remove(x.Find(tag, func(p uint32) bool { return p == pos }))
				delete(model, pos)
			},
			"move": func(t *rapid.T) {
				pos, tag, ok := any(t, model)
				if !ok {
					t.Skip("empty")
				}
				x.Set(x.Find(tag, func(p uint32) bool { return p == pos }), next)
				delete(model, pos)
				model[next] = tag
				next++
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model), x.Len())
				for pos, tag := range model {
					s := x.Find(tag, func(p uint32) bool { return p == pos })
					require.GreaterOrEqual(t, s, 0)
					require.Equal(t, pos, x.At(s))
				}
				require.Equal(t, -1, x.Find(tags.Draw(t, "absent"), func(p uint32) bool { _, in := model[p]; return !in }))
			},
		})
	})
}

func any(t *rapid.T, model map[uint32]uint32) (pos, tag uint32, ok bool) {
	if len(model) == 0 {
		return 0, 0, false
	}
	keys := make([]uint32, 0, len(model))
	for k := range model {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	pos = rapid.SampledFrom(keys).Draw(t, "entry")
	return pos, model[pos], true
}

func TestTagSpreadsWeakHashes(t *testing.T) {
	seen := map[uint32]bool{}
	for i := range uint64(1 << 12) {
		seen[Tag(i)>>20] = true
	}
	require.Greater(t, len(seen), 1<<11)
}
