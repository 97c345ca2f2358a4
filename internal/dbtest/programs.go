package dbtest

import (
	"cmp"
	"fmt"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// program finds an installed program. Distributions keep servers where no PATH
// leads.
func program(name string, folders ...string) (string, error) {
	for _, pattern := range folders {
		found, err := filepath.Glob(filepath.Join(pattern, name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return newest(found), nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed, and these tests need the real one: run \"make install-deps\": %w", name, err)
	}
	return path, nil
}

// newest chooses among /usr/lib/postgresql/15/bin and its like.
func newest(paths []string) string {
	return slices.MaxFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
}

// credential is the first of some users that exists: servers refuse to be root.
// It is nil if the tests are not root themselves.
func credential(uid int, names ...string) (*syscall.Credential, error) {
	if uid != 0 {
		return nil, nil
	}
	for _, name := range append(names, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		id, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		group, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("group of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(id), Gid: uint32(group)}, nil
	}
	return nil, fmt.Errorf("tests run as root, and none of the users %v and nobody exists to run a server as", names)
}
