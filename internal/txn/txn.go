// Package txn is the vocabulary that every room of Waltz shares: partitions,
// transaction IDs, locks, sessions and request IDs. It is a leaf: it imports
// nothing of the project, does no I/O and holds no state. The public package
// waltz aliases the types that applications see.
package txn

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/zeebo/xxh3"
)

// Partition numbers an independent, totally ordered log, from 0.
type Partition int32

func (p Partition) String() string { return strconv.FormatInt(int64(p), 10) }

// ID is the position of a transaction in its partition: dense, from 0 (I2).
// As a high-water mark it names the highest transaction seen; None when
// nothing has been.
type ID int64

// None is the high-water mark of an empty log.
const None ID = -1

func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// ParseID reads what ID.String writes; IDs below None are refused.
func ParseID(s string) (ID, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < int64(None) {
		return None, fmt.Errorf("parse transaction ID %q: want a whole number from -1", s)
	}
	return ID(n), nil
}

// Header is the application-defined integer that is streamed with every
// transaction, so that a consumer can skip what it does not want.
type Header int32

// SessionID numbers a server's tenure of one partition. It only grows, and is
// the fence: a storage refuses anything from a session below the one it has
// promised (I3). As a record's stamp it names the session that first wrote the
// record.
type SessionID int64

func (s SessionID) String() string { return strconv.FormatInt(int64(s), 10) }

// RequestID names one attempt to append, so that it commits at most once
// however often it is sent (I4). It is 128 random bits made by the client.
type RequestID [16]byte

func (r RequestID) String() string { return hex.EncodeToString(r[:]) }

// Timestamp is a point in time in microseconds since the Unix epoch, UTC.
type Timestamp int64

// TimestampOf truncates t to microseconds.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixMicro()) }

// Time returns the timestamp as a time in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }

// LockMode says how a transaction takes a lock (I5).
type LockMode uint8

const (
	// LockRead conflicts with any write or append since the client's
	// high-water mark, and marks nothing.
	LockRead LockMode = 1 + iota
	// LockWrite conflicts like LockRead and marks the lock.
	LockWrite
	// LockAppend never conflicts and marks the lock.
	LockAppend
)

func (m LockMode) String() string {
	switch m {
	case LockRead:
		return "read"
	case LockWrite:
		return "write"
	case LockAppend:
		return "append"
	}
	return "mode(" + strconv.Itoa(int(m)) + ")"
}

// Checks reports whether the mode can conflict.
func (m LockMode) Checks() bool { return m == LockRead || m == LockWrite }

// Marks reports whether the mode is recorded as having taken the lock.
func (m LockMode) Marks() bool { return m == LockWrite || m == LockAppend }

// LockHash is the 64-bit identity of a lock ID inside a partition. It travels
// and is stored in place of the lock's name.
type LockHash uint64

// HashLock maps a lock ID (a name and a number) to its hash: XXH3-64 of the
// name's bytes, with the number as the seed. It is part of the wire protocol.
func HashLock(name string, id uint64) LockHash {
	return LockHash(xxh3.HashStringSeed(name, id))
}

// keySeed sets business keys apart from lock IDs. It is part of the wire
// protocol and of what lies on disks.
const keySeed = 0x77616c747a6b6579

// HashKey maps a business key to the hash of the write lock that a transaction
// with that key takes: XXH3-64 with a seed of its own.
func HashKey(key []byte) LockHash { return LockHash(xxh3.HashSeed(key, keySeed)) }

// Lock is a lock ID taken in a mode.
type Lock struct {
	Hash LockHash
	Mode LockMode
}
