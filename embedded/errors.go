package embedded

import (
	"fmt"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// LockedError reports that another process, or another Open of this one, has
// the folder.
type LockedError struct {
	Dir string
	Err error
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("folder %s is in use by another process or another embedded Waltz of this one: "+
		"connect to it over waltz://, or stop it first (%v)", e.Dir, e.Err)
}

// Unwrap returns the cause.
func (e *LockedError) Unwrap() error { return e.Err }

// PartitionsError reports that an existing log has another number of partitions
// than the one asked for; it never changes.
type PartitionsError struct {
	Dir         string
	Have, Asked int
}

func (e *PartitionsError) Error() string {
	return fmt.Sprintf("log in %s has %d partitions, not %d: the number can't be changed; leave it out, or use another folder", e.Dir, e.Have, e.Asked)
}

// NoLogError reports that there is no log in a folder where one was expected.
type NoLogError struct{ Dir string }

func (e *NoLogError) Error() string { return fmt.Sprintf("there is no log in %s", e.Dir) }

// LogExistsError reports that there is a log in a folder where a new one was to
// be created.
type LogExistsError struct{ Dir string }

func (e *LogExistsError) Error() string { return fmt.Sprintf("there is a log in %s already", e.Dir) }

// LostError reports that the storage's files of a partition are not those that
// the metadata remembers: they were removed, or an older copy was put in their
// place. Nothing is served, since acknowledged transactions may be gone.
type LostError struct{ Partition txn.Partition }

func (e *LostError) Error() string {
	return fmt.Sprintf("files of partition %d were removed or rolled back: restore the whole folder, metadata and storage together, from one backup", e.Partition)
}

// Unwrap makes errors.Is find the protocol's word for it.
func (e *LostError) Unwrap() error { return session.ErrWiped }
