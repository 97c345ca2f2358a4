package sqlite

import (
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite"

	"github.com/waltz-log/waltz/applier"
)

// result is what is known about a primary result code.
type result struct {
	name  string
	class applier.Class
}

// results are the primary result codes, as https://www.sqlite.org/rescode.html
// describes them.
var results = map[int]result{
	1:  {"SQLITE_ERROR", applier.ClassConfiguration}, // bad SQL, missing table or column
	2:  {"SQLITE_INTERNAL", applier.ClassBug},
	3:  {"SQLITE_PERM", applier.ClassConfiguration},
	4:  {"SQLITE_ABORT", applier.ClassBackOff},
	5:  {"SQLITE_BUSY", applier.ClassBackOff},   // another connection writes
	6:  {"SQLITE_LOCKED", applier.ClassBackOff}, // within this process
	7:  {"SQLITE_NOMEM", applier.ClassPage},
	8:  {"SQLITE_READONLY", applier.ClassConfiguration},
	9:  {"SQLITE_INTERRUPT", applier.ClassBackOff},
	10: {"SQLITE_IOERR", applier.ClassPage},
	11: {"SQLITE_CORRUPT", applier.ClassConfiguration},
	12: {"SQLITE_NOTFOUND", applier.ClassBug},
	13: {"SQLITE_FULL", applier.ClassPage},
	14: {"SQLITE_CANTOPEN", applier.ClassPage},
	15: {"SQLITE_PROTOCOL", applier.ClassRetry},       // too many readers raced for the WAL
	17: {"SQLITE_SCHEMA", applier.ClassConfiguration}, // the driver has prepared again already
	18: {"SQLITE_TOOBIG", applier.ClassData},
	19: {"SQLITE_CONSTRAINT", applier.ClassData},
	20: {"SQLITE_MISMATCH", applier.ClassData},
	21: {"SQLITE_MISUSE", applier.ClassBug},
	22: {"SQLITE_NOLFS", applier.ClassConfiguration},
	23: {"SQLITE_AUTH", applier.ClassConfiguration},
	25: {"SQLITE_RANGE", applier.ClassConfiguration}, // more arguments than the statement has places
	26: {"SQLITE_NOTADB", applier.ClassConfiguration},
}

// extended are the names of the extended codes that tell an operator more.
var extended = map[int]string{
	261: "SQLITE_BUSY_RECOVERY", 517: "SQLITE_BUSY_SNAPSHOT", 773: "SQLITE_BUSY_TIMEOUT", 262: "SQLITE_LOCKED_SHAREDCACHE",
	275: "SQLITE_CONSTRAINT_CHECK", 787: "SQLITE_CONSTRAINT_FOREIGNKEY", 1299: "SQLITE_CONSTRAINT_NOTNULL",
	1555: "SQLITE_CONSTRAINT_PRIMARYKEY", 1811: "SQLITE_CONSTRAINT_TRIGGER", 2067: "SQLITE_CONSTRAINT_UNIQUE",
	2579: "SQLITE_CONSTRAINT_ROWID", 3091: "SQLITE_CONSTRAINT_DATATYPE",
	266: "SQLITE_IOERR_READ", 778: "SQLITE_IOERR_WRITE", 1034: "SQLITE_IOERR_FSYNC", 5130: "SQLITE_IOERR_SHMMAP",
	1032: "SQLITE_READONLY_DBMOVED", 264: "SQLITE_READONLY_RECOVERY",
}

// triggerCode is the one whose message an application makes up, so that it may
// hold values.
const triggerCode = 1811

// commitError is an error of COMMIT. SQLite may have written the commit to the
// WAL when the flush after it fails.
type commitError struct{ err error }

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// fault classifies an error of SQLite.
func fault(err error) (applier.Fault, bool) {
	e, is := errors.AsType[*sqlite3.Error](err)
	if !is {
		return applier.Fault{}, false
	}
	r, known := results[e.Code()&0xff]
	if !known {
		r = result{fmt.Sprintf("SQLITE_%d", e.Code()), applier.ClassBug}
	}
	f := applier.Fault{Class: r.class, Code: r.name, Text: e.Error()}
	if name, has := extended[e.Code()]; has {
		f.Code = name
	}
	if e.Code() == triggerCode {
		f.Text = ""
	}
	if _, commit := errors.AsType[*commitError](err); commit && r.class == applier.ClassPage {
		f.Class = applier.ClassUnknown
	}
	return f, true
}
