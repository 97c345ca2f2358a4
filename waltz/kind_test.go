package waltz

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

type entry struct{ Amount int64 }

var posted = Kind[entry]{Header: 10, Name: "entry.posted", Codec: JSON[entry]()}

func TestKind(t *testing.T) {
	var tx Transaction
	require.NoError(t, posted.Put(&tx, entry{Amount: 5}))
	require.Equal(t, Header(10), tx.Header)
	r, err := posted.Decode(Committed{Partition: 2, ID: 7, Header: tx.Header, Data: tx.Data})
	require.NoError(t, err)
	require.Equal(t, entry{Amount: 5}, r.Value)
	require.Equal(t, ID(7), r.ID)

	_, err = posted.Decode(Committed{Partition: 2, ID: 7, Header: 11})
	require.EqualError(t, err, "decode partition 2 transaction 7 as entry.posted: header is 11, want 10")
	_, err = posted.Decode(Committed{Partition: 2, ID: 7, Header: 10, Data: []byte("{")})
	require.ErrorContains(t, err, "decode partition 2 transaction 7 as entry.posted")
	broken := Kind[entry]{Name: "broken", Codec: failing{}}
	require.EqualError(t, broken.Put(&tx, entry{}), "encode broken: no")
}

type failing struct{}

func (failing) Encode(entry) ([]byte, error) { return nil, errors.New("no") }
func (failing) Decode([]byte, *entry) error  { return errors.New("no") }

func TestLockIDs(t *testing.T) {
	id := account.ID(4)
	require.Equal(t, Lock{LockID: LockID{"account", 4}, Mode: LockRead}, id.Read())
	require.Equal(t, LockWrite, id.Write().Mode)
	require.Equal(t, LockAppend, id.Append().Mode)
}
