package waltz

import (
	"context"
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// addLinks makes those that are missing. Only the router does so.
func (c *Client) addLinks(owners []string) error {
	for i, addr := range owners {
		if addr == "" || i > 0 && addr == owners[i-1] {
			continue
		}
		c.mu.Lock()
		known := c.links[addr] != nil
		c.mu.Unlock()
		if known {
			continue
		}
		if err := c.addLink(addr); err != nil {
			return err
		}
	}
	return nil
}

// route sets the owners, releases what waited for them and drops the links of
// servers that own nothing any more.
func (c *Client) route(owners []string) (owned int) {
	lanes := make([]*monitor.Lane, len(owners))
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0
	}
	routes := make([]*link, len(owners))
	for i, addr := range owners {
		if l := c.links[addr]; l != nil {
			routes[i], lanes[i] = l, l.lane
			owned++
		}
	}
	c.routes = routes
	c.monitor.Route(lanes)
	c.monitor.Release()
	close(c.routed)
	c.routed = make(chan struct{})
	idle := c.idleLinksLocked()
	for _, l := range c.links {
		l.stirLocked()
	}
	c.mu.Unlock()
	for _, l := range idle {
		l.end()
	}
	return owned
}

func (c *Client) idleLinksLocked() (idle []*link) {
	for addr, l := range c.links {
		if !slices.Contains(c.routes, l) && l.lane.Out() == 0 {
			delete(c.links, addr)
			idle = append(idle, l)
		}
	}
	return idle
}

// stalled returns how many appends wait for a round of the router.
func (c *Client) stalled() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.monitor.Stalled()
}

// owner returns the link of a partition's owner, waiting until it has one.
func (c *Client) owner(ctx context.Context, p Partition) (*link, error) {
	for {
		c.mu.Lock()
		closed, l, routed := c.closed, c.routes[p], c.routed
		c.mu.Unlock()
		if closed {
			return nil, ErrClosed
		}
		if l != nil {
			return l, nil
		}
		c.router.kick()
		select {
		case <-routed:
		case <-c.ctx.Done():
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("partition %d has no owner now: %w (%w)", p, ctx.Err(), ErrUnavailable)
		}
	}
}
