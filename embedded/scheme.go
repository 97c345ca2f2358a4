package embedded

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Scheme makes waltz.Dial understand file:///dir, an embedded Waltz in that
// folder, which is created if need be and lives as long as the client. With
// ?partitions=N a new log gets N partitions, and an existing one must have as
// many.
var Scheme = NewScheme(Options{})

// NewScheme is [Scheme] with options, such as a logger. Folder and number of
// partitions are those of the address.
func NewScheme(o Options) waltz.Scheme {
	return waltz.Scheme{Name: "file", Open: func(ctx context.Context, u *url.URL) (waltz.Transport, error) {
		return openURL(ctx, u, o)
	}}
}

// closeMax bounds how long the end of a client waits for what is in flight.
const closeMax = 10 * time.Second

func openURL(ctx context.Context, u *url.URL, o Options) (waltz.Transport, error) {
	o, err := o.withURL(u)
	if err != nil {
		return waltz.Transport{}, err
	}
	w, err := Open(ctx, o)
	if err != nil {
		return waltz.Transport{}, err
	}
	return w.Transport(), nil
}

// Transport returns the way to the node for a client in this process. Closing
// it closes the node.
func (w *Waltz) Transport() waltz.Transport {
	return waltz.Transport{
		Addresses: []string{"embedded"},
		Dial:      w.Dial,
		Close: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), closeMax)
			defer cancel()
			return w.Close(ctx)
		},
	}
}

// withURL returns the options with what the address says.
func (o Options) withURL(u *url.URL) (Options, error) {
	o.Dir, o.Partitions = u.Path, 0
	if u.OmitHost || u.Opaque != "" {
		return o, fmt.Errorf("%w: write file:///%s for an absolute folder", waltz.ErrAddress, strings.TrimPrefix(u.Opaque+u.Path, "/"))
	}
	if u.Host != "" && u.Host != "localhost" {
		return o, fmt.Errorf("%w: %q stands where a host would; write file:///%s for an absolute folder", waltz.ErrAddress, u.Host, u.Host+u.Path)
	}
	if !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
		return o, fmt.Errorf("%w: want an absolute folder, as in file:///var/lib/ledger", waltz.ErrAddress)
	}
	if u.User != nil || u.Fragment != "" {
		return o, fmt.Errorf("%w: a folder has neither user nor fragment", waltz.ErrAddress)
	}
	for name, values := range u.Query() {
		n, err := strconv.Atoi(values[0])
		if name != "partitions" || len(values) > 1 || err != nil || n < 1 || n > PartitionsMax {
			return o, fmt.Errorf("%w: unknown or malformed parameter %s=%s; known is partitions=N, N from 1 to %d", waltz.ErrAddress, name, strings.Join(values, ","), PartitionsMax)
		}
		o.Partitions = n
	}
	return o, nil
}
