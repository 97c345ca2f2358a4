package mysql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/waltz-log/waltz/applier"
)

// This file is all that tells MariaDB from MySQL: which one it is, the words of
// statements, and the error numbers that only one of them has or that mean
// another thing to it.

// server is which server it is, as its version says.
type server struct {
	mariaDB             bool
	major, minor, patch int
}

// parseVersion reads what SELECT VERSION() says, such as "10.11.6-MariaDB-1:10.11",
// "8.0.36-0ubuntu0.22.04.1" or "5.5.5-10.6.1-MariaDB", as MariaDB calls itself where
// old replicas listen.
func parseVersion(text string) (server, error) {
	s := server{mariaDB: strings.Contains(strings.ToLower(text), "mariadb")}
	number := text
	if s.mariaDB {
		number = strings.TrimPrefix(number, "5.5.5-")
	}
	end := strings.IndexFunc(number, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		number = number[:end]
	}
	parts := strings.Split(number, ".")
	if len(parts) < 2 {
		return s, fmt.Errorf("version %q of the server is none of MariaDB's or MySQL's", text)
	}
	for i, to := range []*int{&s.major, &s.minor, &s.patch} {
		if i < len(parts) && parts[i] != "" {
			n, err := strconv.Atoi(parts[i])
			if err != nil {
				return s, fmt.Errorf("version %q of the server: %w", text, err)
			}
			*to = n
		}
	}
	return s, s.supported()
}

// supported refuses servers that lack what is relied on.
func (s server) supported() error {
	switch {
	case s.mariaDB && !s.atLeast(10, 6, 0):
		return &SettingError{"version", s.String(), "MariaDB 10.6 or later", "upgrade the server"}
	case !s.mariaDB && !s.atLeast(8, 0, 19):
		return &SettingError{"version", s.String(), "MySQL 8.0.19 or later", "upgrade the server"}
	}
	return nil
}

func (s server) atLeast(major, minor, patch int) bool {
	if s.major != major {
		return s.major > major
	}
	if s.minor != minor {
		return s.minor > minor
	}
	return s.patch >= patch
}

func (s server) String() string {
	name := "MySQL"
	if s.mariaDB {
		name = "MariaDB"
	}
	return fmt.Sprintf("%s %d.%d.%d", name, s.major, s.minor, s.patch)
}

// isolation is the session variable of the isolation level. MariaDB has the other
// name since 11.1, and keeps this one.
func (s server) isolation() string {
	if s.mariaDB && !s.atLeast(11, 1, 0) {
		return "tx_isolation"
	}
	return "transaction_isolation"
}

// endsIdleConnections reports whether idle is about connections without an SQL
// transaction, too: the pool then gives them up before the server does.
func (s server) endsIdleConnections() bool { return !s.mariaDB }

// idle is the session variable that ends an SQL transaction which is silent for
// some seconds.
func (s server) idle() string {
	if s.mariaDB {
		return "idle_write_transaction_timeout"
	}
	return "wait_timeout"
}

// upsertAlias stands behind the rows of an INSERT, so that the clause behind
// it can name them.
func (s server) upsertAlias() string {
	if s.mariaDB {
		return ""
	}
	return " AS new"
}

// inserted names a value that the row of an INSERT has. MySQL 8.0.20 deprecated
// VALUES(), MariaDB has nothing else.
func (s server) inserted(column string) string {
	if s.mariaDB {
		return "VALUES(" + column + ")"
	}
	return "new." + column
}

// tableRow stands before each row of a VALUES that is a table.
func (s server) tableRow() string {
	if s.mariaDB {
		return ""
	}
	return "ROW"
}

// numbers are the error numbers of this kind of server only. MariaDB's
// are of https://mariadb.com/kb/en/mariadb-error-code-reference/, MySQL's of
// https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html.
func (s server) numbers() map[uint16]number {
	if s.mariaDB {
		return mariaDBNumbers
	}
	return mySQLNumbers
}

var mariaDBNumbers = map[uint16]number{
	1927: {"ER_CONNECTION_KILLED", applier.ClassBackOff, plain},
	1969: {"ER_STATEMENT_TIMEOUT", applier.ClassBackOff, plain},
	4025: {"ER_CONSTRAINT_FAILED", applier.ClassData, plain}, // of CHECK
	4078: {"ER_ILLEGAL_PARAMETER_DATA_TYPES2_FOR_OPERATION", applier.ClassConfiguration, plain},
	4161: {"ER_UNKNOWN_DATA_TYPE", applier.ClassConfiguration, plain},
	4166: {"ER_DATA_CONVERSION_ERROR", applier.ClassData, values},
}

var mySQLNumbers = map[uint16]number{
	3024: {"ER_QUERY_TIMEOUT", applier.ClassBackOff, plain},
	3032: {"ER_SERVER_OFFLINE_MODE", applier.ClassBackOff, plain},
	3101: {"ER_TRANSACTION_ROLLBACK_DURING_COMMIT", applier.ClassRetry, plain}, // group replication
	3572: {"ER_LOCK_NOWAIT", applier.ClassRetry, plain},
	3819: {"ER_CHECK_CONSTRAINT_VIOLATED", applier.ClassData, plain},
	3100: {"ER_RUN_HOOK_ERROR", applier.ClassBackOff, plain}, // group replication, before COMMIT: the member left
	4031: {"ER_CLIENT_INTERACTION_TIMEOUT", applier.ClassBackOff, plain},
}
