package segment

import (
	"sort"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// At returns the ID of the first record up to last with at least the given
// timestamp, last + 1 if there is none. It reads a dozen index entries and a few
// KiB of records.
func (l *Log) At(t txn.Timestamp, last txn.ID) (txn.ID, error) {
	all := l.Extents()
	all = all[:sort.Search(len(all), func(i int) bool { return all[i].First > last })]
	var err error
	i := sort.Search(len(all), func(i int) bool {
		if err != nil {
			return true
		}
		var began txn.Timestamp
		began, err = l.began(all[i])
		return began >= t
	})
	if err != nil {
		return txn.None, err
	}
	if i == 0 {
		if len(all) == 0 {
			return last + 1, nil
		}
		return all[0].First, nil
	}
	return l.within(all[i-1], t, min(last, all[i-1].Last))
}

// began returns the timestamp of a segment's first record.
func (l *Log) began(e Extent) (txn.Timestamp, error) {
	r, err := l.reader(e, entry{id: e.First, offset: header.Size}, e.Last+1)
	if err != nil {
		return 0, err
	}
	defer l.c.Files.release(r.f)
	rec, _, err := r.record(0)
	return rec.Time, err
}

// within searches one segment, whose first record is older than t.
func (l *Log) within(e Extent, t txn.Timestamp, last txn.ID) (txn.ID, error) {
	at, next := l.seek(e, func(x entry) bool { return x.time < t })
	r, err := l.reader(e, at, next)
	if err != nil {
		return txn.None, err
	}
	defer l.c.Files.release(r.f)
	for ; r.id <= last; r.id++ {
		rec, n, err := r.record(2 * indexGap)
		if err != nil {
			return txn.None, err
		}
		if rec.Time >= t {
			break
		}
		r.off += int64(n)
	}
	return r.id, nil
}

// reader opens a segment for walking from an entry on. The caller releases r.f.
func (l *Log) reader(e Extent, at entry, next txn.ID) (*reader, error) {
	f, err := l.open(e.First)
	if err != nil {
		return nil, l.unopened(e, err)
	}
	size, err := e.size(f)
	if err != nil {
		l.c.Files.release(f)
		return nil, err
	}
	return &reader{l: l, e: e, f: f, size: size, id: at.id, off: at.offset, next: next}, nil
}
