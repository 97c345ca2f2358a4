// Package journal is a storage's write-ahead journal: one for all partitions,
// written in groups, one write and one fdatasync each. It is the authority on
// everything that is not yet in synced segments, and on every promise. It knows
// the format of entries and nothing of their meaning.
//
// # Files
//
// <number>.journal, sixteen digits, numbers without a gap. A file is filled with
// zeros ahead of its use, since a sync of blocks that were written before takes
// less than half the time of one that has to allocate; files that are no longer
// needed are used again under a higher number. synced is the mark (below), and
// fill.tmp a file that is being prepared. Files are written past the page cache
// ([vfs.Direct]), since nobody reads them but a start: a group of 4 KiB and its sync
// take 0.8 to 0.9 of the time of one through the cache, one of 256 KiB 0.2 to 0.8,
// and half of the CPU (BenchmarkWriteAndSync of internal/vfs; a page that is new to
// the cache is what costs most). Segments go through it: subscribers that are behind
// read them. The bytes of a file:
//
//	block 0        header (package header): format, cluster key, number
//	block 1…       groups, each of whole blocks, one behind the other
//
// A group, little endian:
//
//	offset size
//	     0    4  magic "WGRP"
//	     4    4  CRC-32C of bytes 8..48
//	     8    4  length in bytes, a multiple of 4,096
//	    12    4  number of entries
//	    16    8  number of the file
//	    24    8  offset in the file
//	    32    8  sequence number of the group in the journal, without gaps
//	    40    4  CRC-32C of bytes 48..length
//	    44    4  zero
//	    48    .  entries, then zeros
//
// An entry:
//
//	offset size
//	     0    4  CRC-32C of bytes 4..48
//	     4    4  length of the body
//	     8    4  partition
//	    12    1  kind
//	    13    3  zero
//	    16    8  first ID
//	    24    8  last ID
//	    32    8  session
//	    40    8  committed
//	    48    .  body: a frame as it came (records check themselves), or a state
//
// The first group of every file holds the state of every replica as it was
// then. So recovery replays from the oldest file on disk, in order, and takes as
// long as what was not checkpointed, whatever the size of the log.
//
// # Torn or damaged
//
// There is one group under way at a time, and the next one is written after its
// sync. So bytes that are not a group end the journal, unless something shows
// that more was synced: a group after them, a later file that goes on at a
// higher sequence number, or the mark. The mark is a small file that gets the
// place of the end of each synced group by a plain write, before the group is
// answered. It is never synced itself: after a power cut it may be behind, which
// is safe, since it is a lower bound; after the process was killed it is exact.
// What lies below it and can't be read is damage, and is reported, never cut. A
// process never goes on in a file that it found: it starts the next one, so
// that the remains of a torn group are not behind a later group's end. Whole
// groups beyond the mark it writes again, in place, before it syncs: where a sync
// failed they may be in the page cache only, and a sync of pages that count as
// clean proves nothing (Rebello et al., "Can Applications Recover from fsync
// Failures?", ATC '20).
//
// # A crash between any two steps
//
// Preparing: fill fill.tmp with zeros, write its header, sync, rename it to the
// next number, sync the folder. Before the rename it is used at the next start, or
// thrown away if it has not its full size; after it the file has no group and is the unused next file. Freeing,
// oldest first: rename to fill.tmp (or remove), sync the folder, and only then
// touch the next one or the bytes. So the files on disk are without a gap at
// any time, and no file that has its name lacks its bytes.
package journal
