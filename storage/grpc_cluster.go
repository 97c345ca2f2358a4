package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"google.golang.org/grpc/metadata"

	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// clusterKey returns the cluster that the storage belongs to: what its folder
// says, or else the options; empty if neither does.
func (h *Host) clusterKey() (string, error) {
	inFolder, err := ClusterKey(h.o.Storage)
	if err != nil || inFolder == "" {
		return h.o.Storage.ClusterKey, err
	}
	if asked := h.o.Storage.ClusterKey; asked != "" && asked != inFolder {
		return "", h.otherCluster(inFolder, asked)
	}
	return inFolder, nil
}

// ClusterKey returns the key of the cluster that the storage in a folder belongs
// to, empty if there is none yet. Of the options only FS and Dir count.
func ClusterKey(o Options) (string, error) {
	h, err := o.FS.Open(path.Join(o.Dir, headerName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer h.Close()
	b := make([]byte, header.Size)
	if n, err := h.ReadAt(b, 0); n < len(b) {
		return "", fmt.Errorf("read %s of storage %s: %w: %w", headerName, o.Dir, header.ErrDamaged, err)
	}
	found, err := header.Parse(b, headerMagic)
	if err != nil {
		return "", fmt.Errorf("read %s of storage %s: %w", headerName, o.Dir, err)
	}
	return found.Cluster, nil
}

// reserve takes an empty folder, which the first server that calls fills: who starts
// the process is told now that it can't be made, or is another's.
func (h *Host) reserve() (err error) {
	o := h.o.Storage
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return fmt.Errorf("make storage folder: %w", err)
	}
	if h.mu.empty, err = o.FS.Lock(path.Join(o.Dir, lockName)); err != nil {
		return fmt.Errorf("lock storage folder %s, is it in use? %w", o.Dir, err)
	}
	return nil
}

// releaseLocked ends reserve.
func (h *Host) releaseLocked() (err error) {
	if h.mu.empty != nil {
		err = h.mu.empty.Close()
		h.mu.empty = nil
	}
	return err
}

func (h *Host) open(ctx context.Context, key string) error {
	o := h.o.Storage
	o.ClusterKey = key
	st, err := Open(ctx, o)
	if err != nil {
		return err
	}
	h.mu.storage = st
	h.watching.Go(func() { h.watch(st) })
	return nil
}

// of returns the storage for a caller, who has said who it is, and whom it means,
// in the headers of its call. It is made if this is the first server that calls.
func (h *Host) of(ctx context.Context) (*Storage, error) {
	if err := h.checkCaller(ctx); err != nil {
		return nil, err
	}
	key := first(ctx, wire.HeaderCluster)
	if key == "" {
		return nil, wire.FailStorage(wire.StorageInvalid, "the call has no header %s, the key of the caller's cluster", wire.HeaderCluster)
	}
	return h.claim(ctx, key)
}

// ofAny is of for callers that need not know the cluster.
func (h *Host) ofAny(ctx context.Context) (*Storage, error) {
	if first(ctx, wire.HeaderCluster) != "" {
		return h.of(ctx)
	}
	if err := h.checkCaller(ctx); err != nil {
		return nil, err
	}
	if st := h.Storage(); st != nil {
		return st, nil
	}
	return nil, wire.FailStorage(wire.StorageNoCluster, "storage%s in %s belongs to no cluster yet: it will be that of the first server that calls", h.called(), h.o.Storage.Dir)
}

// claim returns the storage if it is of a cluster. One of no cluster becomes
// that one'h.
func (h *Host) claim(ctx context.Context, key string) (*Storage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.stopped {
		return nil, ErrClosed
	}
	if h.mu.storage == nil {
		err := h.releaseLocked()
		if err == nil {
			err = h.open(context.WithoutCancel(ctx), key)
		}
		if err != nil {
			return nil, err
		}
		h.logger.Info("storage belongs to a cluster now", "dir", h.o.Storage.Dir, "cluster_key", key)
	}
	if mine := h.mu.storage.o.ClusterKey; mine != key {
		return nil, h.otherCluster(mine, key)
	}
	return h.mu.storage, nil
}

// checkCaller refuses a caller of another version, or that means another storage.
func (h *Host) checkCaller(ctx context.Context) error {
	if v := first(ctx, wire.HeaderProtocol); v != strconv.Itoa(wire.StorageProtocol) {
		return wire.FailStorage(wire.StorageOtherProtocol, "storage%s knows version %d of the protocol, the caller's is %q: run the same release of Waltz on both", h.called(), wire.StorageProtocol, v)
	}
	if name := first(ctx, wire.HeaderStorage); name != "" && h.o.Name != "" && name != h.o.Name {
		return wire.FailStorage(wire.StorageOtherName, "this is storage %s, the caller wants storage %s: correct the address of one of them in the cluster's metadata", h.o.Name, name)
	}
	return nil
}

func (h *Host) otherCluster(mine, asked string) error {
	return wire.FailStorage(wire.StorageOtherCluster,
		"storage%s in %s belongs to the cluster with key %q, not %q: correct the storage's address in that cluster's metadata, or start the storage on an empty folder",
		h.called(), h.o.Storage.Dir, mine, asked)
}

// called returns the storage's name for messages, if it has one.
func (h *Host) called() string {
	if h.o.Name == "" {
		return ""
	}
	return " " + h.o.Name
}

// first returns a header of a call.
func first(ctx context.Context, name string) string {
	if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// ClusterKey returns the key of the cluster that the storage belongs to.
func (s *Storage) ClusterKey() string { return s.o.ClusterKey }
