package waltz

import (
	"time"

	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// ailsLocked notes that a partition refuses for now, and returns the news if
// it is any.
func (c *Client) ailsLocked(p Partition, o monitor.Outcome, to []news) []news {
	if c.ailing[p] == o.Reason {
		return to
	}
	c.ailing[p] = o.Reason
	return append(to, news{p, o})
}

// servesLocked notes that a partition commits.
func (c *Client) servesLocked(p Partition, to []news) []news {
	if len(c.ailing) == 0 || c.ailing[p] == monitor.Accepted {
		return to
	}
	delete(c.ailing, p)
	return append(to, news{p, monitor.Outcome{}})
}

// tell logs the news and calls the hook, without a lock.
func (c *Client) tell(n news) {
	_, err := outcome(n.partition, n.outcome)
	if err == nil {
		c.log.Info("appends are taken again", "partition", n.partition)
		return
	}
	c.log.Warn("appends are refused for now and wait", "partition", n.partition, "err", err)
	if hook := c.opts.hooks.Refused; hook != nil {
		hook(n.partition, err)
	}
}

// outageEvery is how often a trouble that lasts is logged: retries are many.
const outageEvery = time.Minute

// outage is a trouble that one goroutine has.
type outage struct{ told time.Time }

// news reports whether a failure is to be logged: the first one, and one in each
// outageEvery. passed: something had gone well since the one before.
func (o *outage) news(passed bool) bool {
	if !passed && !o.told.IsZero() && time.Since(o.told) < outageEvery {
		return false
	}
	o.told = time.Now()
	return true
}
