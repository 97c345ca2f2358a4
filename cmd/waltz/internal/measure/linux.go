//go:build linux

package measure

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// DiskFlushes returns how many flushes the disk under a folder has completed
// since the machine started, by whichever process.
func DiskFlushes(dir string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("disk of %s: %w", dir, err)
	}
	device := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	stat, err := os.ReadFile(filepath.Join(device, "stat"))
	if err != nil {
		return 0, fmt.Errorf("disk of %s has no statistics: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(device, "partition")); err == nil {
		// Flushes are counted for the whole disk.
		if stat, err = os.ReadFile(filepath.Join(device, "..", "stat")); err != nil {
			return 0, err
		}
	}
	return flushesOf(string(stat))
}

const flushField = 15 // of the kernel's Documentation/block/stat.rst

func flushesOf(stat string) (int64, error) {
	fields := strings.Fields(stat)
	if len(fields) <= flushField {
		return 0, errors.New("this kernel does not count flushes")
	}
	return strconv.ParseInt(fields[flushField], 10, 64)
}

// OwnCPU returns the CPU time this process has used.
func OwnCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const ticksPerSecond = 100 // USER_HZ, the same on every architecture Go runs on

// ProcessCPU returns the CPU time a process has used, in steps of 10 ms.
func ProcessCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses, and may hold blanks.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// Listener returns the process of this machine that listens on a TCP address,
// host:port. Only processes that this user may look into are found.
func Listener(addr string) (pid int, err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0, err
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if err := listening(table, uint16(n), inodes); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return ownerOf(addr, inodes)
}

const stateListen = "0A" // TCP_LISTEN

// listening adds the sockets of a table that listen on a port.
func listening(table string, port uint16, inodes map[string]bool) error {
	f, err := os.Open(table)
	if err != nil {
		return err
	}
	defer f.Close()
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == stateListen {
			inodes["socket:["+fields[9]+"]"] = true
		}
	}
	return lines.Err()
}

func ownerOf(addr string, inodes map[string]bool) (int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && inodes[to] {
			return strconv.Atoi(strings.Split(link, "/")[2])
		}
	}
	return 0, fmt.Errorf("no process of this machine that can be looked into listens on %s", addr)
}
