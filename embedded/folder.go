package embedded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/storage"
)

const (
	storageName = "local" // the one storage's name in the metadata
	lockName    = "LOCK"
	metadataDir = "metadata"
	storageDir  = "storage"
)

// folder is what a node keeps in its folder.
type folder struct {
	lock     io.Closer
	metadata *local.Store
	storage  *storage.Storage
	cluster  metadata.Cluster
}

// openFolder takes the folder, finds or founds the log in it, and opens its
// storage.
func openFolder(ctx context.Context, o Options) (_ *folder, err error) {
	f := &folder{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if err := f.take(o); err != nil {
		return nil, err
	}
	if f.metadata, err = local.Open(local.Options{FS: o.FS, Dir: path.Join(o.Dir, metadataDir)}); err != nil {
		return nil, err
	}
	if f.cluster, err = findOrFound(ctx, f.metadata, o); err != nil {
		return nil, err
	}
	if f.storage, err = openStorage(ctx, o, f.cluster); err != nil {
		return nil, err
	}
	if err := checkStorage(ctx, f.metadata, f.storage); err != nil {
		return nil, err
	}
	return f, nil
}

// take makes the folder, unless one must be there, and locks it.
func (f *folder) take(o Options) (err error) {
	if o.Mode == OpenExisting {
		if _, err := o.FS.Stat(path.Join(o.Dir, metadataDir)); errors.Is(err, fs.ErrNotExist) {
			return &NoLogError{Dir: o.Dir}
		}
	}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return fmt.Errorf("make folder %s: %w", o.Dir, err)
	}
	f.lock, err = o.FS.Lock(path.Join(o.Dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return &LockedError{Dir: o.Dir, Err: err}
	}
	if err != nil {
		return fmt.Errorf("lock folder %s: %w", o.Dir, err)
	}
	return nil
}

// findOrFound reads the identity of the log, or makes one.
func findOrFound(ctx context.Context, m metadata.Store, o Options) (metadata.Cluster, error) {
	c, err := metadata.LoadCluster(ctx, m)
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		return found(ctx, m, o)
	case err != nil:
		return c, err
	case o.Mode == CreateNew:
		return c, &LogExistsError{Dir: o.Dir}
	case o.Partitions != 0 && o.Partitions != c.Partitions:
		return c, &PartitionsError{Dir: o.Dir, Have: c.Partitions, Asked: o.Partitions}
	}
	return c, nil
}

func found(ctx context.Context, m metadata.Store, o Options) (metadata.Cluster, error) {
	if o.Mode == OpenExisting {
		return metadata.Cluster{}, &NoLogError{Dir: o.Dir}
	}
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		return metadata.Cluster{}, fmt.Errorf("make a cluster key: %w", err)
	}
	c := metadata.Cluster{
		FormatVersion: metadata.FormatVersion, Key: hex.EncodeToString(key[:]),
		Name: o.ClusterName, Partitions: max(o.Partitions, partitionsDefault),
	}
	if err := metadata.Create(ctx, m, c, []string{storageName}); err != nil {
		return c, err
	}
	o.Logger.Info("log created", "dir", o.Dir, "cluster", c.Name, "key", c.Key, "partitions", c.Partitions)
	return c, nil
}

// close gives back what was taken, the lock last.
func (f *folder) close() error {
	var errs []error
	if f.storage != nil {
		errs = append(errs, f.storage.Close())
	}
	if f.metadata != nil {
		errs = append(errs, f.metadata.Close())
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close())
	}
	return errors.Join(errs...)
}
