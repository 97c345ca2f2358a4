// Package storage keeps replicas of partitions on a disk: the process room of
// the log's durable half. It decides nothing: what a replica takes or refuses
// are the rules of package session, and who leads is the metadata's to say.
//
// Who is authoritative: for promises, and for records that are not yet in
// synced segments, the journal (storage/internal/journal); for all older
// records, the segments (storage/internal/segment); for what can be answered,
// the replica's Now (storage/internal/partition), which moves only when the
// journal's sync has returned.
//
// # The life of an append
//
// Append checks the frame and the session's rules, copies the frame into the
// group that is gathering, and returns. One goroutine, the committer, takes the
// group as soon as the last one is synced: one write, one fdatasync for all
// partitions, one write of the mark. Then it moves every replica's Now and calls
// done in the order of the appends. Group size follows from the load; there is
// no timer. When enough has gathered in memory another goroutine, the flusher,
// writes it to segments; when a journal file is full it syncs them (a
// checkpoint) and the file is used again.
//
// # A crash between any two steps
//
// Before the sync returns: nobody was told; recovery finds the group whole and
// keeps it, or torn and passes over it. After it: recovery replays it. Segments
// may hold anything behind what the journal knows to be synced; recovery cuts
// them there and has the rest in the journal. A process never writes to a
// journal file that another one left, and first syncs what it read there, since
// a process that was killed may not have got so far.
//
// # When the disk fails
//
// A failed fsync, or a write that fails for another reason than space, ends the
// storage for good (Done, Err): what the disk holds is then unknown to this
// process, and asking again would prove nothing. A full disk refuses appends
// ([ErrFull]) and is tried again until there is room; nothing acknowledged
// depends on it. Bytes that are not what was written are found by checksums and
// refused ([*DamagedError]); a replica of which the journal lost something takes
// no messages any more, because a promise may be lost with it. The first is mended
// by Repair, from another replica's records; the second by Reset, which makes it
// another replica. Both are noted in the journal, as is damage that was found. A
// background scrub reads all segments again and again.
//
// # Who writes segments
//
// The flusher alone. Repair, Reset and RemoveReplica prepare what takes long on
// the goroutine of their caller, in files of their own, and hand the flusher the
// short rest; they never make it wait for the journal, which may be waiting for it.
// There is one of them at a time for a partition.
//
// # Bounds
//
// What waits for the journal: QueueBytes. What waits in memory for segments:
// BacklogBytes. Journal files: JournalFilesMax and the two ahead. Open files:
// OpenFilesMax. Large reads at a time: BulkReads. Remembered damage: a thousand
// ranges a replica. Past the first two Append waits until its context ends.
package storage
