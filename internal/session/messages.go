package session

import (
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Incarnation is the random identity of a replica, made when it was created on
// its disk; a wiped disk has another. Zero is never a replica's.
type Incarnation uint64

// Start numbers one start of a storage process, drawn at random. Answers from
// before a restart never count (PROTOCOL.md, rule 3).
type Start uint64

// Replica names a replica as it was when it answered an Open: every later
// message is bound to both numbers.
type Replica struct {
	Incarnation Incarnation
	Start       Start
}

// StampStart is one entry of a session map: records from First on carry Stamp,
// up to the next entry's First.
type StampStart struct {
	Stamp txn.SessionID
	First txn.ID
}

// Open asks a replica to promise a session.
type Open struct {
	Partition txn.Partition
	Session   txn.SessionID
}

// Promise answers Open. Everything in it is durable.
type Promise struct {
	Replica   Replica
	Promised  txn.SessionID
	Installed txn.SessionID
	Last      txn.ID // last record held, durable
	Committed txn.ID // lower bound of the committed end
	Map       []StampStart
}

// Truncate asks a replica that has promised Session, and has not installed it,
// to drop every record above Last. It is refused below the replica's Committed.
type Truncate struct {
	Partition txn.Partition
	Session   txn.SessionID
	Replica   Replica
	Last      txn.ID
}

// Copy brings records that a replica is missing before it installs Session.
// They keep their stamps. (PrevID, PrevStamp) names the record before them.
type Copy struct {
	Partition txn.Partition
	Session   txn.SessionID
	Replica   Replica
	PrevID    txn.ID
	PrevStamp txn.SessionID
	Records   record.Frame
}

// Install makes a replica whose log ends at Last a member of Session.
type Install struct {
	Partition txn.Partition
	Session   txn.SessionID
	Replica   Replica
	Last      txn.ID
}

// Confirm asks a replica that has installed Session whether it has promised a
// higher one since. If a majority of members says no, no other session can have
// opened before they were asked, so what the asking one knows as committed is all
// that was: a read index (Ongaro and Ousterhout 2014, §8). Nothing is written.
type Confirm struct {
	Partition txn.Partition
	Session   txn.SessionID
	Replica   Replica
}

// Append brings new records of an installed session. It is accepted only if
// the replica's promised and installed are both Session and its last record is
// (PrevID, PrevStamp).
type Append struct {
	Partition txn.Partition
	Session   txn.SessionID
	Replica   Replica
	PrevID    txn.ID
	PrevStamp txn.SessionID
	Committed txn.ID
	Records   record.Frame
}

// Appended answers Append, and may stand for earlier ones too: the replica has
// everything up to Last on its disk.
type Appended struct {
	Replica Replica
	Last    txn.ID
}
