package waltz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltz-log/waltz/proto/clientpb"
)

// describeTimeout bounds one question to one server, which may be dead.
const describeTimeout = 3 * time.Second

// router learns which server owns which partition, whenever somebody has
// reason to doubt what is known (kick), and then releases the appends that wait for
// it. Rounds that don't help follow each other ever more slowly.
type router struct {
	c     *Client
	wake  chan struct{} // one round is wanted; one is enough for all who want it
	turn  int           // where the next round begins among the servers
	quiet bool          // the last round failed and was logged
}

func newRouter(c *Client) *router { return &router{c: c, wake: make(chan struct{}, 1)} }

func (r *router) kick() { notify(r.wake) }

// notify marks that something is to be done.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func newBackOff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: 10 * time.Millisecond, RandomizationFactor: 0.3, Multiplier: 1.7, MaxInterval: time.Second,
	}
}

// pause waits a back-off's next interval or until ctx ends.
func pause(ctx context.Context, b *backoff.ExponentialBackOff) error {
	t := time.NewTimer(b.NextBackOff())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start learns the log itself, then who owns what, and starts the router.
func (r *router) start(ctx context.Context) error {
	b := newBackOff()
	b.Reset()
	for {
		d, addr, err := r.ask(ctx)
		if err == nil {
			r.c.adopt(d)
			if err = r.install(d, addr); err == nil {
				r.quiet = false
				r.c.spawn(r.run)
				return nil
			}
		}
		if errors.Is(err, ErrOtherCluster) || errors.Is(err, errNotWaltz) {
			return err
		}
		if !r.quiet {
			r.quiet = true
			r.c.log.Warn("no server answers yet", "err", err)
		}
		if pause(ctx, b) != nil {
			return fmt.Errorf("%w (last trouble: %w)", ctx.Err(), err)
		}
	}
}

func (r *router) run() {
	b := newBackOff()
	b.Reset()
	for {
		select {
		case <-r.c.ctx.Done():
			return
		case <-r.wake:
		}
		r.round()
		if pause(r.c.ctx, b) != nil {
			return
		}
		if r.c.stalled() > 0 {
			r.kick()
		} else if len(r.wake) == 0 {
			b.Reset()
		}
	}
}

// round asks once and logs when trouble begins and when it ends.
func (r *router) round() {
	d, addr, err := r.ask(r.c.ctx)
	if err == nil {
		err = r.install(d, addr)
	}
	if (err != nil) == r.quiet || r.c.ctx.Err() != nil {
		return
	}
	r.quiet = err != nil
	if err != nil {
		r.c.log.Warn("no server tells who owns the partitions", "err", err)
	} else {
		r.c.log.Info("a server tells who owns the partitions again", "server", addr)
	}
}

// ask puts the question to one server after the other until one answers.
func (r *router) ask(ctx context.Context) (*clientpb.DescribeResponse, string, error) {
	servers := r.servers()
	var errs []error
	for i := range servers {
		addr := servers[(r.turn+i)%len(servers)]
		d, err := r.askOne(ctx, addr)
		if err == nil {
			r.turn += i
			return d, addr, nil
		}
		errs = append(errs, err)
		if errors.Is(err, ErrOtherCluster) || ctx.Err() != nil {
			break
		}
	}
	r.turn++
	return nil, "", errors.Join(errs...)
}

// servers lists all who might know.
func (r *router) servers() []string {
	servers := slices.Clone(r.c.transport.Addresses)
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	for addr := range r.c.links {
		if !slices.Contains(servers, addr) {
			servers = append(servers, addr)
		}
	}
	return servers
}

func (r *router) askOne(ctx context.Context, addr string) (*clientpb.DescribeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	api, done, err := r.api(addr)
	if err != nil {
		return nil, err
	}
	defer done()
	d, err := api.Describe(ctx, &clientpb.DescribeRequest{})
	if ctx.Err() != nil {
		return nil, r.about(addr, fmt.Errorf("%w: no answer in time", ErrUnavailable))
	}
	if err != nil {
		return nil, r.about(addr, callError(err))
	}
	if err := r.checkDescription(d); err != nil {
		return nil, r.about(addr, err)
	}
	return d, nil
}

// about says which server an error is of, unless there is only the one that a scheme has
// a way of its own to: then the log's address, which is said already, is all there is.
func (r *router) about(addr string, err error) error {
	if t := r.c.transport; t.Dial != nil && len(t.Addresses) == 1 {
		return err
	}
	return fmt.Errorf("ask %s about the log: %w", addr, err)
}

// api returns the way to a server: its link's, or a connection for once.
func (r *router) api(addr string) (clientpb.WaltzClient, func(), error) {
	r.c.mu.Lock()
	l := r.c.links[addr]
	r.c.mu.Unlock()
	if l != nil {
		return l.api, func() {}, nil
	}
	conn, err := r.c.dialServer(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return clientpb.NewWaltzClient(conn), func() { _ = conn.Close() }, nil
}

// checkDescription refuses another log's, or one that can't be.
func (r *router) checkDescription(d *clientpb.DescribeResponse) error {
	want := r.c.cluster.key
	if want == "" {
		want = r.c.opts.clusterKey
	}
	switch known := r.c.cluster.partitions; {
	case want != "" && d.GetClusterKey() != want:
		return fmt.Errorf("%w: want %s, found %s", ErrOtherCluster, want, d.GetClusterKey())
	case d.GetPartitions() < 1 || d.GetPartitions() > partitionsMax:
		return fmt.Errorf("server tells of %d partitions", d.GetPartitions())
	case known != 0 && known != int(d.GetPartitions()):
		return fmt.Errorf("server tells of %d partitions, the log has %d", d.GetPartitions(), known)
	case len(d.GetOwners()) != 0 && len(d.GetOwners()) != int(d.GetPartitions()):
		return fmt.Errorf("server names owners of %d partitions out of %d", len(d.GetOwners()), d.GetPartitions())
	}
	return nil
}

// partitionsMax bounds what a server's word can make the client allocate.
const partitionsMax = 1 << 20

// install makes the answer what is known.
func (r *router) install(d *clientpb.DescribeResponse, answering string) error {
	owners := d.GetOwners()
	if len(owners) == 0 {
		owners = slices.Repeat([]string{answering}, int(d.GetPartitions()))
	}
	if err := r.c.addLinks(owners); err != nil {
		return err
	}
	owned := r.c.route(owners)
	if hook := r.c.opts.hooks.Routed; hook != nil {
		hook(owned, len(owners))
	}
	return nil
}
