package session

import "github.com/waltz-log/waltz/internal/txn"

// Event is what a [Leader] is told.
type Event interface{ isEvent() }

// The events. Those of a replica name its storage, and, after Open, the
// incarnation and start that answered.
type (
	// Loaded brings M as it was read; asked for by New and by LoadM.
	Loaded struct{ M PartitionState }
	// Changed says that the last ChangeM succeeded.
	Changed struct{}
	// NotChanged says that the last ChangeM failed, or may have: a lost answer
	// counts as a lost compare-and-set.
	NotChanged struct{}
	// Promised brings the answer to Open.
	Promised struct {
		Storage string
		Promise Promise
	}
	// Truncated says that Truncate was answered.
	Truncated struct {
		Storage string
		Replica Replica
	}
	// Copied says that the replica's log now ends at Last.
	Copied struct {
		Storage string
		Replica Replica
		Last    txn.ID
	}
	// Installed says that Install was answered.
	Installed struct {
		Storage string
		Replica Replica
	}
	// Failed says that a message to a storage was refused or got no answer. The
	// storage takes part again after a Retry.
	Failed struct {
		Storage string
		Err     error
	}
	// Retry says that a storage that failed should be tried anew.
	Retry struct{ Storage string }
	// Touched says that somebody may have changed M: the target, say, or, by
	// claiming a session, everything. It may come too often.
	Touched struct{}
)

func (Loaded) isEvent()     {}
func (Changed) isEvent()    {}
func (NotChanged) isEvent() {}
func (Promised) isEvent()   {}
func (Truncated) isEvent()  {}
func (Copied) isEvent()     {}
func (Installed) isEvent()  {}
func (Failed) isEvent()     {}
func (Retry) isEvent()      {}
func (Touched) isEvent()    {}

// Output is what a [Leader] wants done. The outputs of one step are carried out
// in their order, and those of an earlier step first.
type Output interface{ isOutput() }

// The outputs.
type (
	// LoadM asks for M to be read: answer with Loaded.
	LoadM struct{}
	// ChangeM asks for M to be changed by compare-and-set on the version that was
	// last read or written (rule 1): answer with Changed or NotChanged.
	ChangeM struct{ M PartitionState }
	// SendOpen asks a storage's replica for its promise: Promised or Failed.
	SendOpen struct {
		Storage string
		Message Open
	}
	// SendTruncate asks for records to be dropped: Truncated or Failed.
	SendTruncate struct {
		Storage string
		Message Truncate
	}
	// SendCopy asks for records First..Last, or as many from First on as fit into
	// a message, to be read from the storage From and sent to Storage in a Copy
	// message made like Message: Copied or Failed. A failure of From is its own.
	SendCopy struct {
		Storage     string
		From        string
		First, Last txn.ID
		Message     Copy // without records
	}
	// SendInstall asks a replica to become a member: Installed or Failed.
	SendInstall struct {
		Storage string
		Message Install
	}
	// Opened says that the session is open: everything up to High is committed,
	// and appends go on behind (High, HighStamp).
	Opened struct {
		High      txn.ID
		HighStamp txn.SessionID
	}
	// Ready says that a replica takes appends behind Last.
	Ready struct {
		Storage string
		Replica Replica
		Last    txn.ID
	}
	// Unfit says that a replica cannot take part now, and why, or, of one that was
	// wiped, that it has no vote in the choice; for the operator. A Retry tries it
	// again.
	Unfit struct {
		Storage string
		Err     error
	}
	// Switchable says that every newcomer of Target has been copied to, up to a few
	// messages, and that a majority of it can take part: a session that is opened
	// on it now (Keep) is open soon. This one goes on until then.
	Switchable struct{ Target []string }
	// Ended says that the session is over; nothing follows. What was appended and
	// not committed is unanswered, not failed.
	Ended struct{ Err error }
)

func (LoadM) isOutput()        {}
func (ChangeM) isOutput()      {}
func (SendOpen) isOutput()     {}
func (SendTruncate) isOutput() {}
func (SendCopy) isOutput()     {}
func (SendInstall) isOutput()  {}
func (Opened) isOutput()       {}
func (Ready) isOutput()        {}
func (Unfit) isOutput()        {}
func (Switchable) isOutput()   {}
func (Ended) isOutput()        {}
