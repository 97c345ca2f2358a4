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
var Scheme = waltz.Scheme{Name: "file", Open: openURL}

// closeMax bounds how long the end of a client waits for what is in flight.
const closeMax = 10 * time.Second

func openURL(ctx context.Context, u *url.URL) (waltz.Transport, error) {
	o, err := parseURL(u)
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

func parseURL(u *url.URL) (Options, error) {
	o := Options{Dir: u.Path}
	if u.Host != "" && u.Host != "localhost" {
		return o, fmt.Errorf("address %s: %q stands where a host would; write file:///%s for an absolute folder", u, u.Host, u.Host+u.Path)
	}
	if !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
		return o, fmt.Errorf("address %s: want an absolute folder, as in file:///var/lib/ledger", u)
	}
	if u.User != nil || u.Fragment != "" {
		return o, fmt.Errorf("address %s: a folder has neither user nor fragment", u)
	}
	for name, values := range u.Query() {
		n, err := strconv.Atoi(values[0])
		if name != "partitions" || len(values) > 1 || err != nil || n < 1 {
			return o, fmt.Errorf("address %s: unknown or malformed parameter %s=%s; known is partitions=N", u, name, strings.Join(values, ","))
		}
		o.Partitions = n
	}
	return o, nil
}
