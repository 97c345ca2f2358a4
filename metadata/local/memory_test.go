package local_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/metadata/metadatatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryBehavesAsAStore(t *testing.T) {
	metadatatest.Run(t, func(t *testing.T) metadatatest.Tree {
		root := local.NewMemory()
		t.Cleanup(func() { require.NoError(t, root.Close()) })
		return metadatatest.Tree{Session: func(*testing.T) metadata.Store { return root.Session() }}
	})
}
