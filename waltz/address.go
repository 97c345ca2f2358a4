package waltz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// builtin is the scheme of servers named by address.
const builtin = "waltz"

// openTransport opens an address by its scheme. What follows it is the scheme's to
// judge, also that the slashes are missing: it knows how to write it right.
func openTransport(ctx context.Context, addr string, schemes []Scheme) (Transport, error) {
	name, rest, found := strings.Cut(addr, ":")
	name = strings.ToLower(name)
	for _, s := range slices.Backward(schemes) {
		if found && s.Name == name {
			return openScheme(ctx, addr, s)
		}
	}
	servers, slashes := strings.CutPrefix(rest, "//")
	switch {
	case name == builtin && found && !slashes:
		return Transport{}, fmt.Errorf("%w: %q: write %s://%s", ErrAddress, addr, builtin, strings.TrimPrefix(rest, "/"))
	case !slashes:
		return Transport{}, fmt.Errorf("%w: %q has no scheme: want %s", ErrAddress, addr, known(schemes))
	case name != builtin:
		return Transport{}, fmt.Errorf("%w: %q has an unknown scheme: want %s", ErrAddress, addr, known(schemes))
	}
	all, err := parseServers(servers)
	if err != nil {
		return Transport{}, fmt.Errorf("%w: %q: %w", ErrAddress, addr, err)
	}
	return Transport{Addresses: all}, nil
}

func openScheme(ctx context.Context, addr string, s Scheme) (Transport, error) {
	u, err := parseURL(addr)
	if err != nil {
		return Transport{}, fmt.Errorf("%w: %q: %w", ErrAddress, addr, err)
	}
	t, err := s.Open(ctx, u)
	if err != nil {
		return Transport{}, fmt.Errorf("open %s: %w", addr, err)
	}
	if len(t.Addresses) == 0 {
		return Transport{}, errors.Join(fmt.Errorf("open %s: it names no server", addr), closeTransport(t))
	}
	return t, nil
}

// parseURL reads a URL that may name several hosts, which net/url refuses: they
// come as Host, as they stand.
func parseURL(addr string) (*url.URL, error) {
	name, rest, _ := strings.Cut(addr, "://")
	hosts, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		hosts, path = rest[:i], rest[i:]
	}
	several := strings.Contains(hosts, ",")
	if several {
		addr = name + "://several" + path
	}
	u, err := url.Parse(addr)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if several {
		u.Host = hosts
	}
	return u, nil
}

func closeTransport(t Transport) error {
	if t.Close == nil {
		return nil
	}
	return t.Close()
}

// known lists the schemes that Dial was given.
func known(schemes []Scheme) string {
	names := []string{builtin + "://"}
	for _, s := range schemes {
		names = append(names, s.Name+"://")
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// parseServers reads host:port,host:port.
func parseServers(s string) ([]string, error) {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		return nil, fmt.Errorf("nothing may follow the servers, found %q", s[i:])
	}
	var servers []string
	for part := range strings.SplitSeq(s, ",") {
		if err := checkServer(part); err != nil {
			return nil, err
		}
		servers = append(servers, part)
	}
	return servers, nil
}

func checkServer(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, " @\t\n") {
		return fmt.Errorf("server %q is not host:port", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("server %q has port %q, want 1 to 65535", s, port)
	}
	return nil
}
