package session_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// TestTranscripts runs testdata/*.txt: what servers and storages say to each
// other in one partition. testdata/README.txt tells the commands.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.HasSuffix(path, "README.txt") {
			return
		}
		w := &world{t: t, replicas: map[string]*disk{}, servers: map[string]*server{}}
		datadriven.RunTest(t, path, w.run)
	})
}

// world is one partition: M, replicas on their disks, servers with their
// sessions, and the messages that were sent and not delivered.
type world struct {
	t        *testing.T
	m        session.PartitionState
	version  int
	replicas map[string]*disk
	names    []string
	servers  map[string]*server
	out      strings.Builder
}

type disk struct {
	*session.ReplicaState
	log []record.Frame
}

type server struct {
	name    string
	leader  *session.Leader
	version int
	pending []session.Output
	links   map[string]session.Replica
	tail    []record.Frame
}

func (w *world) run(t *testing.T, d *datadriven.TestData) string {
	w.t = t
	w.out.Reset()
	commands := map[string]func(*datadriven.TestData){
		"state": w.state, "open": w.open, "deliver": w.deliver, "show": w.show,
		"restart": w.restart, "wipe": w.wipe, "append": w.append, "retry": w.retry, "target": w.target, "touch": w.touch, "recover": w.recover, "alive": w.alive,
	}
	command, ok := commands[d.Cmd]
	if !ok {
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	command(d)
	if w.out.Len() == 0 {
		return "ok\n"
	}
	return w.out.String()
}

func (w *world) say(format string, args ...any) { fmt.Fprintf(&w.out, format+"\n", args...) }

// state sets M and the replicas. Words not given are those of something new.
func (w *world) state(d *datadriven.TestData) {
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		args := map[string]string{}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			args[key] = value
		}
		if words[0] == "M" {
			w.setM(args)
			continue
		}
		w.setReplica(words[0], args)
	}
}

func (w *world) setM(args map[string]string) {
	w.version++
	w.replicas, w.names = map[string]*disk{}, nil
	w.m = session.PartitionState{
		Session: txn.SessionID(number(args["session"], 0)), Opened: txn.SessionID(number(args["opened"], 0)),
		Generation: number(args["generation"], 0), Target: list(args["target"]),
	}
	for _, member := range list(args["members"]) {
		name, installed, _ := strings.Cut(member, ":")
		w.m.Members = append(w.m.Members, session.Member{
			Storage: name, Incarnation: incarnation(name), Installed: txn.SessionID(number(installed, 0)),
		})
	}
}

func (w *world) setReplica(name string, args map[string]string) {
	self := session.Incarnation(number(args["incarnation"], int64(incarnation(name))))
	s := session.NewReplicaState(0, session.Replica{Incarnation: self, Start: 1})
	s.Installed = txn.SessionID(number(args["installed"], 0))
	s.Promised = txn.SessionID(number(args["promised"], int64(s.Installed)))
	r := &disk{ReplicaState: s}
	w.replicas[name] = r
	if !slices.Contains(w.names, name) {
		w.names = append(w.names, name)
	}
	runs, last := list(args["log"]), txn.ID(number(args["last"], -1))
	for i, run := range runs {
		stamp, first, _ := strings.Cut(run, "@")
		end := last
		if i+1 < len(runs) {
			_, next, _ := strings.Cut(runs[i+1], "@")
			end = txn.ID(number(next, 0)) - 1
		}
		if from := txn.ID(number(first, 0)); from <= end { // a session may have written nothing yet
			r.add(makeFrame(txn.SessionID(number(stamp, 0)), from, end))
		}
	}
	s.Committed = txn.ID(number(args["committed"], -1))
}

// incarnation is a number made of a name like s3, so that every storage has its
// own; a wiped disk adds 100.
func incarnation(name string) session.Incarnation {
	return session.Incarnation(number(strings.TrimPrefix(name, "s"), 0))
}

func number(s string, otherwise int64) int64 {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	return otherwise
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func makeFrame(stamp txn.SessionID, first, last txn.ID) record.Frame {
	var f record.Frame
	for id := first; id <= last; id++ {
		f = record.Append(f, &record.Record{ID: id, Stamp: stamp, Data: fmt.Appendf(nil, "%d of %d", id, stamp)}, nil)
	}
	return f
}

func (r *disk) add(f record.Frame) {
	span, err := f.Check()
	if err != nil {
		panic(err)
	}
	r.ApplyRecords(f, span)
	for len(f) > 0 {
		n := f.TrustedLen()
		r.log, f = append(r.log, f[:n]), f[n:]
	}
}

func (r *disk) read(first, last txn.ID) (f record.Frame) {
	for _, one := range r.log[first : last+1] {
		f = append(f, one...)
	}
	return f
}

func (w *world) restart(d *datadriven.TestData) {
	for _, a := range d.CmdArgs {
		w.replicas[a.Key].Self.Start++
	}
}

func (w *world) wipe(d *datadriven.TestData) {
	for _, a := range d.CmdArgs {
		old := w.replicas[a.Key].Self
		w.replicas[a.Key] = &disk{ReplicaState: session.NewReplicaState(0, session.Replica{Incarnation: old.Incarnation + 100, Start: 1})}
	}
}

func (w *world) target(d *datadriven.TestData) {
	w.m.Target = nil
	for _, a := range d.CmdArgs {
		w.m.Target = append(w.m.Target, a.Key)
	}
	w.version++
}

// recover has the operator give up all members but one.
func (w *world) recover(d *datadriven.TestData) {
	r := w.replicas[d.CmdArgs[0].Key]
	w.m = w.m.Recover(session.Member{Storage: d.CmdArgs[0].Key, Incarnation: r.Self.Incarnation, Installed: r.Installed},
		session.Recovery{At: 1, Last: r.Last, LastStamp: r.LastStamp})
	w.version++
	w.say("M := %s, given up %v", describe(w.m), w.m.Recoveries[0].Gone)
}

// touch tells a server that M may have been changed.
func (w *world) touch(d *datadriven.TestData) {
	w.step(w.servers[d.CmdArgs[0].Key], session.Touched{})
	w.deliver(d)
}

// open has a server begin a new session.
func (w *world) open(d *datadriven.TestData) {
	name := d.CmdArgs[0].Key
	s := &server{name: name, links: map[string]session.Replica{}}
	w.servers[name] = s
	var generation int64
	d.MaybeScanArgs(w.t, "generation", &generation)
	var out []session.Output
	s.leader, out = session.NewLeader(0, generation)
	if d.HasArg("keep") {
		s.leader.Keep(values(d, "keep"))
	}
	s.pending = slices.Clone(out)
	w.deliver(d)
}

func (w *world) retry(d *datadriven.TestData) {
	s := w.servers[d.CmdArgs[0].Key]
	for _, a := range d.CmdArgs[1:] {
		if a.Key != "down" && a.Key != "hold" {
			w.step(s, session.Retry{Storage: a.Key})
		}
	}
	w.deliver(d)
}

// deliver lets a server's messages arrive and be answered until there are no
// more. down=(s1,s2): those give no answer. hold=(install): messages of that
// kind, or to that storage, wait. lose=record: that change of M takes effect,
// its answer is lost.
func (w *world) deliver(d *datadriven.TestData) {
	s := w.servers[d.CmdArgs[0].Key]
	var held []session.Output
	for len(s.pending) > 0 {
		o := s.pending[0]
		s.pending = s.pending[1:]
		if slices.Contains(values(d, "hold"), kind(o)) || slices.Contains(values(d, "hold"), storageOf(o)) {
			held = append(held, o)
			continue
		}
		w.perform(s, o, d)
	}
	s.pending = held
	for _, o := range held {
		w.say("%s: held back: %s %s", s.name, kind(o), storageOf(o))
	}
}

func values(d *datadriven.TestData, key string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return a.Vals
		}
	}
	return nil
}

func kind(o session.Output) string {
	name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", o), "session."))
	return strings.TrimPrefix(name, "send")
}

func storageOf(o session.Output) string {
	switch o := o.(type) {
	case session.SendOpen:
		return o.Storage
	case session.SendTruncate:
		return o.Storage
	case session.SendCopy:
		return o.Storage
	case session.SendInstall:
		return o.Storage
	}
	return ""
}

func (w *world) step(s *server, e session.Event) {
	s.pending = append(s.pending, slices.Clone(s.leader.Step(e))...)
}

func (w *world) perform(s *server, o session.Output, d *datadriven.TestData) {
	storage := storageOf(o)
	if storage != "" && slices.Contains(values(d, "down"), storage) {
		w.say("%s → %s: %s: no answer", s.name, storage, kind(o))
		w.step(s, session.Failed{Storage: storage, Err: errors.New("no answer")})
		return
	}
	switch o := o.(type) {
	case session.LoadM:
		s.version = w.version
		w.step(s, session.Loaded{M: w.m.Clone()})
	case session.ChangeM:
		w.change(s, o, slices.Contains(values(d, "lose"), "answer"))
	case session.Opened:
		w.say("%s: session %d is open, everything up to %d is committed", s.name, s.leader.Session(), o.High)
	case session.Ready:
		s.links[o.Storage] = o.Replica
		w.say("%s: %s takes appends behind %d", s.name, o.Storage, o.Last)
	case session.Unfit:
		w.say("%s: %s cannot take part: %v", s.name, o.Storage, o.Err)
	case session.Switchable:
		w.say("%s: a session could be opened on %v now", s.name, o.Target)
	case session.Ended:
		w.say("%s: session %d ended: %v", s.name, s.leader.Session(), o.Err)
		s.pending = nil
	default:
		w.send(s, o)
	}
}

// change is a compare-and-set of M; its answer may be lost.
func (w *world) change(s *server, o session.ChangeM, lost bool) {
	if s.version != w.version {
		w.say("%s: M was changed by somebody else", s.name)
		w.step(s, session.NotChanged{})
		return
	}
	w.version++
	s.version, w.m = w.version, o.M
	w.say("%s: M := %s", s.name, describe(w.m))
	if lost {
		w.say("%s: the answer is lost", s.name)
		w.step(s, session.NotChanged{})
		return
	}
	w.step(s, session.Changed{})
}

func describe(m session.PartitionState) string {
	var members []string
	for _, r := range m.Members {
		name := r.Storage
		if r.Incarnation != incarnation(r.Storage) {
			name += fmt.Sprintf("#%d", r.Incarnation)
		}
		members = append(members, fmt.Sprintf("%s:%d", name, r.Installed))
	}
	return fmt.Sprintf("session %d, opened %d, members [%s]", m.Session, m.Opened, strings.Join(members, " "))
}

// send lets a storage answer one message.
func (w *world) send(s *server, o session.Output) {
	storage := storageOf(o)
	r := w.replicas[storage]
	var event session.Event
	var err error
	var said string
	switch o := o.(type) {
	case session.SendOpen:
		if _, err = r.CheckOpen(o.Message); err == nil {
			r.ApplyPromise(o.Message.Session)
			p := r.Promise()
			event = session.Promised{Storage: storage, Promise: p}
			said = fmt.Sprintf("promised, installed %d, log %s", p.Installed, describeLog(p.Map, p.Last))
		}
	case session.SendTruncate:
		if _, err = r.CheckTruncate(o.Message); err == nil {
			r.ApplyTruncate(o.Message.Last)
			r.log = r.log[:r.Last+1]
			event, said = session.Truncated{Storage: storage, Replica: o.Message.Replica}, fmt.Sprintf("to %d", o.Message.Last)
		}
	case session.SendCopy:
		m := o.Message
		m.Records = w.replicas[o.From].read(o.First, o.Last)
		span, _ := m.Records.Check()
		var write bool
		if write, err = r.CheckCopy(&m, span); err == nil {
			if write {
				r.add(m.Records)
			}
			event = session.Copied{Storage: storage, Replica: m.Replica, Last: span.Last}
			said = fmt.Sprintf("%d to %d from %s", o.First, o.Last, o.From)
		}
	case session.SendInstall:
		if _, err = r.CheckInstall(o.Message); err == nil {
			r.ApplyInstall(o.Message.Session)
			event, said = session.Installed{Storage: storage, Replica: o.Message.Replica}, fmt.Sprintf("at %d", o.Message.Last)
		}
	}
	if err != nil {
		w.say("%s → %s: %v", s.name, storage, err)
		w.step(s, session.Failed{Storage: storage, Err: err})
		return
	}
	w.say("%s → %s: %s %d: %s", s.name, storage, kind(o), s.leader.Session(), said)
	w.step(s, event)
}

func describeLog(m session.Map, last txn.ID) string {
	if last == txn.None {
		return "empty"
	}
	var runs []string
	for i, e := range m {
		end := last
		if i+1 < len(m) {
			end = m[i+1].First - 1
		}
		runs = append(runs, fmt.Sprintf("%d–%d by %d", e.First, end, e.Stamp))
	}
	return strings.Join(runs, ", ")
}

// alive tells whether a server's session can get on without those that failed.
func (w *world) alive(d *datadriven.TestData) {
	w.say("%t", w.servers[d.CmdArgs[0].Key].leader.Alive())
}

// append has a server append records up to an ID, to all that take them but
// those named by without=, and tells what is committed.
func (w *world) append(d *datadriven.TestData) {
	s := w.servers[d.CmdArgs[0].Key]
	var last int64
	d.ScanArgs(w.t, "last", &last)
	first := s.last() + 1
	prevStamp := s.leader.StampAt(first - 1)
	if err := s.leader.Append(first, txn.ID(last)); err != nil {
		w.say("%s: %v", s.name, err)
		return
	}
	f := makeFrame(s.leader.Session(), first, txn.ID(last))
	s.tail = append(s.tail, f)
	for _, name := range w.names {
		self, linked := s.links[name]
		if !linked || slices.Contains(values(d, "without"), name) {
			continue
		}
		w.appendTo(s, name, session.Append{
			Session: s.leader.Session(), Replica: self, PrevID: first - 1, PrevStamp: prevStamp,
			Committed: s.leader.Committed(), Records: f,
		})
	}
	w.say("%s: committed %d", s.name, s.leader.Committed())
}

// last returns where the server's log ends.
func (s *server) last() txn.ID {
	id := s.leader.High()
	for _, f := range s.tail {
		span, _ := f.Check()
		id = span.Last
	}
	return id
}

func (w *world) appendTo(s *server, name string, m session.Append) {
	r := w.replicas[name]
	span, _ := m.Records.Check()
	write, err := r.CheckAppend(&m, span)
	if err != nil {
		w.say("%s → %s: %v", s.name, name, err)
		delete(s.links, name)
		w.step(s, session.Failed{Storage: name, Err: err})
		return
	}
	if write {
		r.add(m.Records)
		r.ApplyCommitted(m.Committed)
	}
	out := s.leader.Appended(name, session.Appended{Replica: r.Self, Last: r.Last})
	s.pending = append(s.pending, slices.Clone(out)...)
	w.say("%s → %s: append %d to %d", s.name, name, span.First, span.Last)
}

func (w *world) show(*datadriven.TestData) {
	w.say("M: %s", describe(w.m))
	for _, name := range w.names {
		r := w.replicas[name]
		w.say("%s: promised %d, installed %d, log %s", name, r.Promised, r.Installed, describeLog(r.Map, r.Last))
	}
}
