package dbtest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// home is the folder of one server, and the user that it belongs to. A watcher
// outlives this process by the time that it takes to clean up.
type home struct {
	dir     string
	as      *syscall.Credential // nil: ourselves
	watcher *exec.Cmd
	pipe    io.Closer // its end is the watcher's signal
}

// watch waits for the end of its input, ends the server that the file pid names,
// and removes the folder.
const watch = `cat >/dev/null
if [ -s "$1/pid" ]; then
	p=$(cat "$1/pid")
	kill -CONT "$p"; kill -QUIT "$p"
	n=0; while kill -0 "$p" && [ $n -lt 40 ]; do sleep 0.05; n=$((n+1)); done
	kill -KILL "$p"
fi
n=0; until rm -rf "$1" || [ $n -ge 40 ]; do sleep 0.05; n=$((n+1)); done`

func newHome(name string, users ...string) (*home, error) {
	as, err := credential(os.Getuid(), users...)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "waltz-"+name+"-")
	if err != nil {
		return nil, err
	}
	h := &home{dir: dir, as: as}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, err
		}
	}
	h.watcher = exec.Command("/bin/sh", "-c", watch, "watch", dir)
	h.watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is not for it
	if h.pipe, err = h.watcher.StdinPipe(); err != nil {
		return nil, err
	}
	if err := h.watcher.Start(); err != nil {
		return nil, fmt.Errorf("start the watcher of %s: %w", dir, err)
	}
	return h, nil
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

// close removes the folder. The server has ended.
func (h *home) close() error {
	err := h.pipe.Close()
	if waited := h.watcher.Wait(); err == nil {
		err = waited
	}
	return err
}

// command prepares a program that runs as the home's user, in its folder.
func (h *home) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = h.dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "TMPDIR=" + h.dir, "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: h.as}
	return c
}

// run runs a program to its end.
func (h *home) run(name string, args ...string) error {
	out, err := h.command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// write makes a file that the home's user can read.
func (h *home) write(name, text string) error {
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		return err
	}
	if h.as == nil {
		return nil
	}
	return os.Chown(h.path(name), int(h.as.Uid), int(h.as.Gid))
}
