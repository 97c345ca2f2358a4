// Package segment keeps the records of one partition that have left the journal:
// files of records as they came, and a sparse index beside each. It is written
// behind the journal by one goroutine and read by many with pread; nothing is
// mapped, since mapped pages count as the process's memory.
//
// Segments are authoritative only up to the ID that the journal says was synced
// (Cut is given it at start). Beyond it they hold whatever the last process had
// got to write, and are cut. An index is derived: a damaged one is reported,
// done without, and rebuilt.
//
// A segment is <first ID>.seg, twenty digits:
//
//	offset size
//	     0  128  header (package header): format, cluster key, first ID, partition
//	   128    .  records (package record), IDs without a gap
//
// Its index is <first ID>.idx:
//
//	offset size
//	     0  128  header
//	   128  32n  entries, for the first record and then for each that begins at
//	             least 4 KiB behind the one before:
//	                 0  8  transaction ID
//	                 8  8  offset in the segment
//	                16  8  timestamp
//	                24  4  number of the entry, from 0
//	                28  4  CRC-32C of bytes 0..28
//
// A crash between any two steps: everything is written without order and synced
// by Sync, files first, then the folder. Only after it does the journal say so,
// and only then is the journal file freed. A truncation removes whole segments
// and cuts one; the journal's entry for it was synced before, and is freed no
// sooner than Sync has returned.
package segment
