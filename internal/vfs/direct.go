package vfs

import "unsafe"

// Block is the alignment that direct writes need: of the place in the file, of the
// length, and of the memory. It is that of the largest sectors in use.
const Block = 4096

// Direct returns a file whose writes of whole blocks, from memory that is aligned
// to them ([Aligned]), go to the disk past the page cache. All other writes go
// through it, and so does everything where the file system knows nothing else.
// Such a write is durable when it returns, and the Datasync behind it, which stays
// the caller's duty, has nothing to do. An error of it may be that of the sync: only
// ENOSPC can be tried again.
//
// It is for what is written, synced and not read: there is nothing to copy, no page
// to find or to mark, no writeback to start, and one wait for the disk less. The file
// must not be written through another handle at the same time.
func Direct(f File) File {
	if d, can := f.(interface{ direct() File }); can {
		return d.direct()
	}
	return f
}

// Aligned returns an empty slice whose memory is aligned for direct writes, with a
// capacity of at least so many bytes, in whole blocks.
func Aligned(bytes int) []byte {
	n := (max(bytes, 1) + Block - 1) &^ (Block - 1)
	// What is larger than a page, and whole pages long, the allocator aligns by itself.
	if b := make([]byte, 0, n); aligned(b[:n]) {
		return b
	}
	b := make([]byte, n+Block)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (Block - 1)
	return b[skip : skip : skip+n]
}

func aligned(p []byte) bool {
	return len(p)%Block == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%Block == 0
}
