package storageclient

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/waltz-log/waltz/metadata"
)

// Directory holds a client for every storage that the cluster's metadata names, and
// follows its changes: storages come, go, and move to other addresses while servers
// run. Make it with NewDirectory. All methods may be called concurrently.
type Directory struct {
	metadata metadata.Store
	o        Options
	cancel   context.CancelFunc
	watching sync.WaitGroup

	mu      sync.Mutex // guards the rest; not held while a client is closed, since that calls back
	clients map[string]*Client
	closed  bool
}

// watchBackoff is how long a directory waits before it asks the metadata again.
const watchBackoff = time.Second

// NewDirectory reads the storages and begins to watch them. The options are those of
// every client; Address and Name are filled in.
func NewDirectory(ctx context.Context, m metadata.Store, o Options) (*Directory, error) {
	d := &Directory{metadata: m, o: o, clients: map[string]*Client{}}
	if err := d.load(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.watching.Go(func() { d.watch(ctx) })
	return d, nil
}

// Find returns the client of a storage, false if the metadata names no such storage,
// or did not when it was looked at last.
func (d *Directory) Find(storage string) (*Client, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.clients[storage]
	return c, ok
}

// Close ends all clients, and returns when nothing of them runs any more. It may be
// called more than once.
func (d *Directory) Close() error {
	if d.cancel != nil {
		d.cancel()
	}
	d.watching.Wait()
	d.mu.Lock()
	d.closed = true
	old, err := d.replaceLocked(nil)
	d.mu.Unlock()
	return errors.Join(err, closeAll(old))
}

func closeAll(clients []*Client) error {
	var errs []error
	for _, c := range clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (d *Directory) watch(ctx context.Context) {
	for ctx.Err() == nil {
		d.follow(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(watchBackoff):
		}
	}
}

// follow loads what there is at each change, until that fails. Its watch ends with it.
func (d *Directory) follow(ctx context.Context) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := d.metadata.Watch(watching, metadata.StoragesKey)
	for err == nil {
		if err = d.load(ctx); err != nil {
			return
		}
		if _, ok := <-changes; !ok {
			return
		}
	}
}

// load makes the clients those of the storages that the metadata names now.
func (d *Directory) load(ctx context.Context) error {
	storages, err := metadata.ListStorages(ctx, d.metadata)
	if err != nil {
		return err
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	old, err := d.replaceLocked(storages)
	d.mu.Unlock()
	return errors.Join(err, closeAll(old))
}

// replaceLocked makes the clients that are missing, and returns those that are not
// wanted any more. Closing them ends what is under way there.
func (d *Directory) replaceLocked(storages []metadata.Storage) (old []*Client, err error) {
	addresses := map[string]string{}
	for _, s := range storages {
		addresses[s.Name] = s.Address
	}
	for name, c := range d.clients {
		if addresses[name] != c.o.Address {
			delete(d.clients, name)
			old = append(old, c)
		}
	}
	var errs []error
	for name, address := range addresses {
		if d.clients[name] != nil {
			continue
		}
		o := d.o
		o.Name, o.Address = name, address
		c, err := New(o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.clients[name] = c
	}
	return old, errors.Join(errs...)
}
