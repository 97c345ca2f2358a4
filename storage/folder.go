package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// The folder of a storage:
//
//	LOCK                 held while a process uses the folder
//	storage              128 bytes: header (package header) with the cluster key
//	scrub                96 bytes: where the background scrub is, a hint
//	journal/             package journal
//	partitions/000007/   package segment; one for each replica
const (
	lockName       = "LOCK"
	headerName     = "storage"
	headerMagic    = "WALTZSTO"
	journalDir     = "journal"
	partitionsDir  = "partitions"
	partitionWidth = 6
)

// folder is the storage's place on the file system.
type folder struct {
	fs      vfs.FS
	dir     string
	cluster string
}

func (f folder) journal() string { return path.Join(f.dir, journalDir) }

func (f folder) partition(p txn.Partition) string {
	return path.Join(f.dir, partitionsDir, fmt.Sprintf("%0*d", partitionWidth, p))
}

// enter makes the folder if need be, locks it and checks whose it is. The
// header comes last: a crash before it leaves a folder that is made anew.
func (f folder) enter() (lock io.Closer, err error) {
	if err := f.makeDirs(); err != nil {
		return nil, err
	}
	if lock, err = f.fs.Lock(path.Join(f.dir, lockName)); err != nil {
		return nil, fmt.Errorf("lock storage folder %s, is it in use? %w", f.dir, err)
	}
	if err := f.checkHeader(); err != nil {
		return nil, errors.Join(fmt.Errorf("storage folder %s: %w", f.dir, err), lock.Close())
	}
	return lock, nil
}

func (f folder) makeDirs() error {
	for _, sub := range []string{journalDir, partitionsDir} {
		if err := f.fs.MkdirAll(path.Join(f.dir, sub)); err != nil {
			return fmt.Errorf("make storage folder: %w", err)
		}
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return fmt.Errorf("sync storage folder: %w", err)
	}
	for d := path.Dir(path.Clean(f.dir)); ; d = path.Dir(d) {
		if err := f.fs.SyncDir(d); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sync folder above the storage's: %w", err)
		}
		if d == path.Dir(d) {
			return nil
		}
	}
}

func (f folder) checkHeader() error {
	h, err := f.fs.Open(path.Join(f.dir, headerName))
	if errors.Is(err, fs.ErrNotExist) {
		return f.writeHeader()
	}
	if err != nil {
		return err
	}
	defer h.Close()
	b := make([]byte, header.Size)
	if n, err := h.ReadAt(b, 0); n < len(b) {
		return fmt.Errorf("read %s: %w: %w", headerName, header.ErrDamaged, err)
	}
	_, err = header.Decode(b, headerMagic, f.cluster)
	return err
}

// writeHeader makes the header: whole in a temporary file, then renamed.
func (f folder) writeHeader() error {
	name := path.Join(f.dir, headerName)
	if err := f.fs.Remove(name + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h, err := f.fs.Create(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = h.WriteAt(header.Header{Magic: headerMagic, Cluster: f.cluster}.Encode(header.Size), 0)
	if err == nil {
		err = h.Sync()
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return fmt.Errorf("write %s: %w", headerName, err)
	}
	if err := f.fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	return f.fs.SyncDir(f.dir)
}

// partitions returns the partitions with a folder.
func (f folder) partitions() ([]txn.Partition, error) {
	names, err := f.fs.List(path.Join(f.dir, partitionsDir))
	if err != nil {
		return nil, err
	}
	var all []txn.Partition
	for _, name := range names {
		if n, err := strconv.ParseInt(name, 10, 32); err == nil && n >= 0 {
			all = append(all, txn.Partition(n))
		}
	}
	return all, nil
}

// makePartition makes a replica's folder durable, before the journal says that
// there is a replica.
func (f folder) makePartition(p txn.Partition) error {
	if err := f.fs.MkdirAll(f.partition(p)); err != nil {
		return fmt.Errorf("make folder of partition %d: %w", p, err)
	}
	if err := f.fs.SyncDir(path.Join(f.dir, partitionsDir)); err != nil {
		return fmt.Errorf("sync folder of partitions: %w", err)
	}
	return nil
}
