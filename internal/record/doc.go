// Package record is the format of a transaction on disk and on the wire, and
// of a frame: the records of one partition with consecutive IDs, one after the
// other. A server encodes a frame once; storages write those bytes as they
// are and readers get them as they are, so no hop decodes and encodes again.
//
// A record, little endian:
//
//	offset size
//	     0    4  length of the record in bytes, this field included
//	     4    4  CRC-32C of bytes 8..length
//	     8    4  partition
//	    12    4  header, the application's
//	    16    8  transaction ID
//	    24    8  stamp: session in which the record was first written
//	    32    8  commit timestamp, microseconds since 1970 UTC
//	    40   16  request ID
//	    56    4  length of the data as committed
//	    60    2  number of lock hashes (locks taken for write or append)
//	    62    1  length of the business key
//	    63    1  flags; bit 0: the data was left out (feeds only, never on disk)
//	    64   8n  lock hashes
//	     .    k  business key
//	     .    d  data
//
// Every decoder checks lengths before it reads and the checksum before it
// believes. Damage is reported as [*CorruptError], which survives wrapping.
// Nothing here keeps a reference to a slice after it returns, except that a
// [Record] aliases the frame it was decoded from.
package record
