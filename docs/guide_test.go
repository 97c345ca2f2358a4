// Package docs runs what its pages show. In docs/guide.md and the pages of docs/guide
// every listing is a region of a file, every shell block is executed as a stranger
// would, in an empty folder beside a checkout, and every output is compared. What the
// reader does not see is in comments in front of the blocks; see event.
package docs

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/internal/dbtest"
)

var servers dbtest.Servers

func TestMain(m *testing.M) {
	code, called := asGrpcurl()
	if !called {
		code = servers.Run(m)
	}
	os.Exit(code)
}

var pages = []string{"guide.md", "guide/databases.md", "guide/topics.md", "protocol.md"}

// event is a fenced block, or a comment, of a page:
//
//	<!-- from FILE -->         the block is a region of FILE, as it is
//	<!-- as NAME until URL --> the shell block goes on until it is stopped, and URL answers
//	<!-- stop NAME -->         no block: Ctrl-C for that
//	<!-- on DATABASE -->       the SQL block is run there as who may do everything
//
// A text block is what the shell block before it prints; … stands for anything.
type event struct {
	page      string
	line      int
	directive []string
	language  string
	text      string
}

func (e event) String() string { return fmt.Sprintf("%s:%d", e.page, e.line) }

var eventPattern = regexp.MustCompile("(?ms)^(?:<!-- ([^\n]*) -->\n)?```(\\w*)\n(.*?)^```$|^<!-- (stop [^\n]*) -->$")

func events(t *testing.T, page string) (all []event) {
	t.Helper()
	raw, err := os.ReadFile(page)
	require.NoError(t, err)
	text := string(raw)
	for _, m := range eventPattern.FindAllStringSubmatchIndex(text, -1) {
		group := func(n int) string {
			if m[2*n] < 0 {
				return ""
			}
			return text[m[2*n]:m[2*n+1]]
		}
		all = append(all, event{
			page: page, line: 1 + strings.Count(text[:m[0]], "\n"),
			directive: strings.Fields(group(1) + group(4)), language: group(2), text: group(3),
		})
	}
	require.NotEmpty(t, all)
	return all
}

// Every listing is in the program, verbatim.
func TestListings(t *testing.T) {
	for _, page := range pages {
		for _, e := range events(t, page) {
			switch {
			case len(e.directive) == 2 && e.directive[0] == "from":
				file, err := os.ReadFile(filepath.Join("..", e.directive[1]))
				require.NoError(t, err, e)
				require.True(t, strings.Contains("\n"+string(file), "\n"+e.text), "%s is not as in %s:\n%s", e, e.directive[1], e.text)
			case e.language == "go" || e.language == "sql" && len(e.directive) == 0:
				t.Errorf("%s: a listing without a file is not tested", e)
			}
		}
	}
}

// Every command does what the page says, on every database.
func TestCommands(t *testing.T) {
	for _, page := range pages {
		all := events(t, page)
		if !slices.ContainsFunc(all, func(e event) bool { return e.language == "sh" }) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			r := newReader(t)
			for _, e := range all {
				r.follow(e)
			}
		})
	}
}

// reader is a stranger with a terminal or two.
type reader struct {
	*testing.T
	folder  string
	path    string // where commands are looked for
	where   string // file with the folder that the last block ended in
	replace *strings.Replacer
	running map[string]*exec.Cmd
	printed string
	urls    map[string]string // of databases, by kind
}

// newReader sits down in an empty folder with a checkout of Waltz beside it.
func newReader(t *testing.T) *reader {
	checkout, err := filepath.Abs("..")
	require.NoError(t, err)
	r := &reader{T: t, folder: t.TempDir(), running: map[string]*exec.Cmd{}}
	require.NoError(t, os.Symlink(checkout, filepath.Join(r.folder, "waltz")))
	tools := t.TempDir()
	require.NoError(t, installGrpcurl(tools))
	r.path = tools + string(filepath.ListSeparator) + os.Getenv("PATH")
	r.where = filepath.Join(t.TempDir(), "where")
	pg, maria := servers.PostgreSQL(t).NewDatabase(t), servers.MariaDB(t).NewDatabase(t)
	r.urls = map[string]string{"postgres": pg, "mysql": maria}
	r.replace = strings.NewReplacer(
		"127.0.0.1:8080", freeAddress(t), "127.0.0.1:8081", freeAddress(t), "127.0.0.1:7171", freeAddress(t),
		"owner:secret", dbtest.User+":"+dbtest.Password,
		"127.0.0.1:5432/stock", place(pg), "127.0.0.1:3306/stock", place(maria), "ON stock.", "ON "+database(maria)+".",
	)
	t.Cleanup(func() {
		for name := range r.running {
			r.stop(name)
		}
	})
	return r
}

// place is what stands behind the user in an address, without parameters.
func place(url string) string {
	_, place, _ := strings.Cut(url, "@")
	place, _, _ = strings.Cut(place, "?")
	return place
}

func database(url string) string { return place(url)[strings.Index(place(url), "/")+1:] }

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (r *reader) follow(e event) {
	text := r.replace.Replace(e.text)
	switch {
	case e.language == "sh" && len(e.directive) == 4 && e.directive[0] == "as":
		r.start(e, text, e.directive[1], r.replace.Replace(e.directive[3]))
	case e.language == "sh":
		r.run(e, text)
	case e.language == "text":
		require.Regexp(r, pattern(text), r.printed, "%s: what is printed is another", e)
	case len(e.directive) == 2 && e.directive[0] == "stop":
		require.Contains(r, r.running, e.directive[1], "%s", e)
		r.stop(e.directive[1])
	case len(e.directive) == 2 && e.directive[0] == "on":
		r.query(e, text, e.directive[1])
	}
}

// pattern of a printed text.
func pattern(text string) *regexp.Regexp {
	return regexp.MustCompile(`(?s)^\s*` + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(text)), "…", ".*") + `\s*$`)
}

func (r *reader) bash(ctx context.Context, text string) *exec.Cmd {
	dir := r.folder
	if where, err := os.ReadFile(r.where); err == nil {
		dir = strings.TrimSpace(string(where))
	}
	c := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	c.Dir = dir
	// Sums of modules are those of this module's go.sum, checked when they were loaded.
	c.Env = append(os.Environ(), "WHERE="+r.where, "PATH="+r.path, "GOFLAGS=-buildvcs=false", "GONOSUMDB=*", "GOWORK=off")
	return c
}

const commandMax = 5 * time.Minute

func (r *reader) run(e event, text string) {
	ctx, cancel := context.WithTimeout(r.Context(), commandMax)
	defer cancel()
	c := r.bash(ctx, `trap 'pwd >"$WHERE"' EXIT`+"\n"+text)
	var printed, logged bytes.Buffer
	c.Stdout, c.Stderr = &printed, &logged
	require.NoError(r, c.Run(), "%s:\n%s\n%s\n%s", e, text, &printed, &logged)
	r.printed = printed.String()
}

func (r *reader) start(e event, text, name, url string) {
	c := r.bash(context.Background(), "exec "+strings.TrimSpace(text))
	var logged bytes.Buffer
	c.Stdout, c.Stderr = &logged, &logged
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(r, c.Start())
	r.running[name] = c
	answers := func() bool { return answers(url) }
	if !eventually(answers, time.Minute) {
		r.stop(name)
		r.Fatalf("%s: %s does not answer:\n%s", e, url, &logged)
	}
}

// answers asks for a page, or only for a connection.
func answers(url string) bool {
	if address, tcp := strings.CutPrefix(url, "tcp://"); tcp {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func eventually(is func() bool, max time.Duration) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(max); ; {
		select {
		case <-end:
			return false
		case <-tick.C:
			if is() {
				return true
			}
		}
	}
}

// stop is Ctrl-C, and demands a good end.
func (r *reader) stop(name string) {
	c := r.running[name]
	delete(r.running, name)
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		require.NoError(r, err, "%s:\n%s", name, c.Stderr)
	case <-time.After(30 * time.Second):
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		<-ended
		r.Errorf("%s does not end by Ctrl-C:\n%s", name, c.Stderr)
	}
}

func (r *reader) query(e event, text, kind string) {
	open := postgres.OpenDB
	if kind == "mysql" {
		open = mysql.OpenDB
	}
	db, err := open(r.urls[kind])
	require.NoError(r, err)
	defer db.Close()
	for _, statement := range strings.Split(text, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		_, err := db.ExecContext(r.Context(), statement)
		require.NoError(r, err, "%s: %s", e, statement)
	}
}
