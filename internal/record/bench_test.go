package record_test

import (
	"fmt"
	"testing"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

var sizes = []int{16, 200, 512, 4096}

func BenchmarkAppend(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("data=%d", size), func(b *testing.B) {
			rec := record.Record{ID: 1, Data: make([]byte, size)}
			locks := []txn.Lock{{Hash: 1, Mode: txn.LockWrite}, {Hash: 2, Mode: txn.LockRead}}
			buf := make([]byte, 0, 2*size+record.HeaderSize)
			b.SetBytes(int64(record.Size(1, 0, size)))
			b.ReportAllocs()
			for b.Loop() {
				buf = record.Append(buf[:0], &rec, locks)
			}
		})
	}
}

func BenchmarkWalk(b *testing.B) {
	for _, size := range sizes {
		frame := benchFrame(size, 100)
		b.Run(fmt.Sprintf("data=%d/how=check", size), func(b *testing.B) {
			walk(b, frame, func() int { s, _ := frame.Check(); return s.Records })
		})
		b.Run(fmt.Sprintf("data=%d/how=trusted", size), func(b *testing.B) {
			walk(b, frame, func() int {
				n := 0
				for range frame.Trusted() {
					n++
				}
				return n
			})
		})
	}
}

func walk(b *testing.B, frame record.Frame, records func() int) {
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if n := records(); n != 100 {
			b.Fatalf("walked %d records", n)
		}
	}
}

func benchFrame(size, records int) record.Frame {
	var frame record.Frame
	for i := range records {
		frame = record.Append(frame, &record.Record{ID: txn.ID(i), Data: make([]byte, size)}, []txn.Lock{{Hash: 1, Mode: txn.LockWrite}})
	}
	return frame
}
