package session

import "errors"

// Why an attempt to open a session, or an open one, ended.
var (
	// ErrReassigned: M has a higher generation than the server's assignment.
	ErrReassigned = errors.New("partition was assigned to another server")
	// ErrFenced: another server claimed or a replica promised a higher session.
	ErrFenced = errors.New("another session took over")
	// ErrChanged: M was changed by somebody else, or perhaps by us without our
	// hearing of it. Claim a new number.
	ErrChanged = errors.New("partition's metadata changed")
	// ErrSourceLost: the replica whose log was chosen failed before a majority had
	// installed it, and there is one choice for each session (rule 2). Claim a new
	// number.
	ErrSourceLost = errors.New("replica with the chosen log was lost")
	// ErrNoMajority: every replica has answered, and too many members are wiped
	// or rolled back. For the operator.
	ErrNoMajority = errors.New("no majority of members has kept its log")
	// ErrNoTarget: M names no storage that should have the partition.
	ErrNoTarget = errors.New("partition has no target storages")
	// ErrForeignData: a replica holds records of a partition that the metadata
	// calls new, or claims a state that no replica can have.
	ErrForeignData = errors.New("replica holds records that the metadata does not know of")
	// ErrOneReplica: two storages have answered with one and the same replica, say
	// since both names lead to one process. It takes part under one of them.
	ErrOneReplica = errors.New("two storages are one replica")
	// ErrGivenUp: a replica knows records to be committed that the log does not have,
	// since an operator has recovered the partition by force without them. It may not
	// drop them, so it takes no part until it is reset.
	ErrGivenUp = errors.New("it holds committed records that were given up by a forced recovery")
	// ErrNoSource: no member that counts can give a returning replica what it
	// is missing now.
	ErrNoSource = errors.New("no replica to copy from")
	// ErrOtherLog: what a storage gave to be read or copied are not the records of
	// the session's log: its disk was put back since it was opened, most likely.
	ErrOtherLog = errors.New("storage has another log than the session")
	// ErrWiped: a replica is not the one that M remembers, or has lost what M says
	// it installed; it counts as absent.
	ErrWiped = errors.New("replica was wiped or rolled back")
)

// ErrFull is a storage's answer to a message that it has no room for. Nothing
// was changed, whether or not the message was right: the same one may be sent
// again until there is room. A refusal that is none of these rules' business,
// which is why it is no [Reason].
var ErrFull = errors.New("disk is full")

// ErrBusy is the answer to a message for which there is no room now in what a
// storage, or the way to it, may hold in memory. Nothing was changed; the same one
// may be sent again in a moment.
var ErrBusy = errors.New("too much waits for the storage")

// ClaimAnew reports whether an ended attempt should be made again with a new
// session number by a server that still owns the partition.
func ClaimAnew(err error) bool { return errors.Is(err, ErrChanged) || errors.Is(err, ErrSourceLost) }

// NeedsOperator reports whether a replica that is unfit for a reason stays so until
// somebody does something about it.
func NeedsOperator(err error) bool {
	return errors.Is(err, ErrGivenUp) || errors.Is(err, ErrForeignData) || errors.Is(err, ErrOneReplica)
}
