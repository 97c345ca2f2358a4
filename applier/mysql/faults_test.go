package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	mysql "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
)

// Every number that SINKS.md D6 names has the class it names there.
func TestClassesOfNumbers(t *testing.T) {
	for class, all := range map[applier.Class][]uint16{
		applier.ClassRetry:         {1213, 1020, 1614, 1205, 1206},
		applier.ClassBackOff:       {1040, 1203, 1226, 1053, 1077, 1079, 1047, 1158, 1159, 1160, 1161, 1290, 1836, 1317, 1037, 1038, 1041},
		applier.ClassPage:          {1021, 1114},
		applier.ClassUnknown:       {1180},
		applier.ClassData:          {1062, 1048, 1364, 1264, 1265, 1292, 1366, 1406, 1451, 1452, 1690, 1365, 3140, 1526, 1153, 1390},
		applier.ClassConfiguration: {1044, 1045, 1049, 1054, 1064, 1136, 1142, 1143, 1146, 1227, 1235, 1792},
		applier.ClassBug:           {1399, 1400},
	} {
		for _, n := range all {
			for _, s := range []server{mariaDB, mySQL} {
				require.Equal(t, class, s.numbered(&mysql.MySQLError{Number: n}).Class, "%d on %s", n, s)
			}
		}
	}
	for _, c := range []struct {
		server server
		number uint16
		state  string
		class  applier.Class
	}{
		{mariaDB, 1927, "70100", applier.ClassBackOff},
		{mariaDB, 1969, "70100", applier.ClassBackOff},
		{mariaDB, 4025, "23000", applier.ClassData},
		{mySQL, 3101, "40000", applier.ClassRetry},
		{mySQL, 3572, "HY000", applier.ClassRetry},
		{mySQL, 3024, "HY000", applier.ClassBackOff},
		{mySQL, 3032, "HY000", applier.ClassBackOff},
		{mySQL, 4031, "HY000", applier.ClassBackOff},
		{mySQL, 3819, "HY000", applier.ClassData},
		// Another server's number means nothing: the SQLSTATE says what can be said.
		{mySQL, 1927, "70100", applier.ClassBug},
		{mariaDB, 3819, "HY000", applier.ClassBug},
		{mariaDB, 9999, "23000", applier.ClassData},
		{mariaDB, 9999, "08S01", applier.ClassBackOff},
		{mySQL, 9999, "40001", applier.ClassRetry},
		{mySQL, 9999, "42S22", applier.ClassConfiguration},
		{mariaDB, 1105, "HY000", applier.ClassBug},
	} {
		e := &mysql.MySQLError{Number: c.number}
		copy(e.SQLState[:], c.state)
		require.Equal(t, c.class, c.server.numbered(e).Class, "%d %s on %s", c.number, c.state, c.server)
	}
}

// A number stands in one table only, or its classes could differ.
func TestNumbersStandOnce(t *testing.T) {
	for _, s := range []server{mariaDB, mySQL} {
		for n, of := range s.numbers() {
			require.NotContains(t, numbers, n)
			require.NotEmpty(t, of.name)
		}
	}
}

func TestClassesOfOthers(t *testing.T) {
	for class, errs := range map[applier.Class][]error{
		applier.ClassBackOff: {
			mysql.ErrInvalidConn, driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, fmt.Errorf("read: %w", syscallError()),
			&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, &net.DNSError{Err: "no such host", Name: "h"},
		},
		applier.ClassData:          {mysql.ErrPktTooLarge, errRowTooLarge, &MissingRowsError{"t", 2, 1}},
		applier.ClassConfiguration: {&SettingError{"a", "b", "c", "d"}, mysql.ErrNoTLS, mysql.ErrOldPassword},
		applier.ClassBug:           {fmt.Errorf("%w: %w", applier.ErrImplicitCommit, &mysql.MySQLError{Number: 1305})},
	} {
		for _, err := range errs {
			f, is := mariaDB.fault(fmt.Errorf("wrapped: %w", err))
			require.True(t, is, "%v", err)
			require.Equal(t, class, f.Class, "%v", err)
			require.NotEmpty(t, f.Code)
		}
	}
	for _, err := range []error{errors.New("handler's own"), context.Canceled, context.DeadlineExceeded, sql.ErrNoRows} {
		_, is := mariaDB.fault(err)
		require.False(t, is, "%v", err)
	}
}

func syscallError() error { return &net.OpError{Op: "read", Err: syscall.ECONNRESET} }

// Only what the server says it took back is known of a COMMIT.
func TestClassesOfCommits(t *testing.T) {
	for err, class := range map[error]applier.Class{
		mysql.ErrInvalidConn:                  applier.ClassUnknown,
		driver.ErrBadConn:                     applier.ClassUnknown,
		context.Canceled:                      applier.ClassUnknown,
		context.DeadlineExceeded:              applier.ClassUnknown,
		io.EOF:                                applier.ClassUnknown,
		&mysql.MySQLError{Number: 1180}:       applier.ClassUnknown,
		&mysql.MySQLError{Number: 1053}:       applier.ClassUnknown,
		&mysql.MySQLError{Number: 1317}:       applier.ClassUnknown,
		&mysql.MySQLError{Number: 1021}:       applier.ClassUnknown,
		&mysql.MySQLError{Number: 1213}:       applier.ClassRetry,
		errors.New("nobody knows this error"): applier.ClassUnknown,
	} {
		f, is := mySQL.fault(&commitError{err})
		require.True(t, is)
		require.Equal(t, class, f.Class, "%v", err)
	}
	f, _ := mySQL.fault(&commitError{&mysql.MySQLError{Number: 3101}})
	require.Equal(t, applier.ClassRetry, f.Class)
}

// A log line about a connection says of which database: the driver does not.
func TestLostConnectionsAreNamed(t *testing.T) {
	a, err := parse("mysql://app:secret@db.example:3306/app")
	require.NoError(t, err)
	f, is := (&database{address: a.text}).Fault(mysql.ErrInvalidConn)
	require.True(t, is)
	require.Equal(t, applier.ClassBackOff, f.Class)
	require.Equal(t, "mysql://app:xxxxx@db.example:3306/app: invalid connection", f.Text)
}

// What MariaDB really says, and that no value of a row gets into logs (F25).
func TestFaultsOfTheServer(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	d, err := open(t.Context(), url, applier.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	for _, query := range []string{
		"CREATE TABLE p (id int PRIMARY KEY)",
		"CREATE TABLE t (id int PRIMARY KEY, s varchar(10) NOT NULL, i tinyint NOT NULL DEFAULT 0, j json, p int, UNIQUE KEY text_key (s), CHECK (i <> 66), FOREIGN KEY (p) REFERENCES p (id))",
		"INSERT INTO t (id, s) VALUES (1, 'secret')",
		"CREATE TRIGGER no_bad BEFORE INSERT ON t FOR EACH ROW IF NEW.s = 'bad' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret of a trigger'; END IF",
	} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
	for query, want := range map[string]applier.Fault{
		"INSERT INTO t (id, s) VALUES (1, 'x')":               {Class: applier.ClassData, Code: "1062 ER_DUP_ENTRY", Text: "a value for key 'PRIMARY'"},
		"INSERT INTO t (id, s) VALUES (2, 'secret')":          {Class: applier.ClassData, Code: "1062 ER_DUP_ENTRY", Text: "a value for key 'text_key'"},
		"INSERT INTO t (id, s) VALUES (2, 'secret and long')": {Class: applier.ClassData, Code: "1406 ER_DATA_TOO_LONG", Text: "Data too long for column 's' at row 1"},
		"INSERT INTO t (id, s, i) VALUES (2, 's', 200)":       {Class: applier.ClassData, Code: "1264 ER_WARN_DATA_OUT_OF_RANGE", Text: "Out of range value for column 'i' at row 1"},
		"INSERT INTO t (id, s, i) VALUES (2, 's', 'secret')":  {Class: applier.ClassData, Code: "1366 ER_TRUNCATED_WRONG_VALUE_FOR_FIELD", Text: "*"},
		"INSERT INTO t (id, s) VALUES (2, NULL)":              {Class: applier.ClassData, Code: "1048 ER_BAD_NULL_ERROR", Text: "Column 's' cannot be null"},
		"INSERT INTO t (id) VALUES (2)":                       {Class: applier.ClassData, Code: "1364 ER_NO_DEFAULT_FOR_FIELD", Text: "Field 's' doesn't have a default value"},
		"INSERT INTO t (id, s, i) VALUES (2, 's', 66)":        {Class: applier.ClassData, Code: "4025 ER_CONSTRAINT_FAILED", Text: "*"},
		"INSERT INTO t (id, s, j) VALUES (2, 's', 'secret')":  {Class: applier.ClassData, Code: "4025 ER_CONSTRAINT_FAILED", Text: "*"},
		"INSERT INTO t (id, s, p) VALUES (2, 's', 7)":         {Class: applier.ClassData, Code: "1452 ER_NO_REFERENCED_ROW_2", Text: "*"},
		"INSERT INTO t (id, s) VALUES (2, 'bad')":             {Class: applier.ClassData, Code: "1644 ER_SIGNAL_EXCEPTION"},
		"UPDATE t SET i = 1 / 0":                              {Class: applier.ClassData, Code: "1365 ER_DIVISION_BY_ZERO", Text: "Division by 0"},
		"SELECT 9223372036854775807 + 1":                      {Class: applier.ClassData, Code: "1690 ER_DATA_OUT_OF_RANGE"},
		"SELECT * FROM nowhere":                               {Class: applier.ClassConfiguration, Code: "1146 ER_NO_SUCH_TABLE", Text: "*"},
		"SELECT nothing FROM t":                               {Class: applier.ClassConfiguration, Code: "1054 ER_BAD_FIELD_ERROR", Text: "*"},
		"SELECT 'secret' FRM t":                               {Class: applier.ClassConfiguration, Code: "1064 ER_PARSE_ERROR"},
		"SELECT no_such_function()":                           {Class: applier.ClassConfiguration, Code: "1305 ER_SP_DOES_NOT_EXIST", Text: "*"},
		"INSERT INTO t VALUES (1)":                            {Class: applier.ClassConfiguration, Code: "1136 ER_WRONG_VALUE_COUNT_ON_ROW", Text: "*"},
	} {
		_, err := d.writes.Exec(query)
		f, is := d.Fault(err)
		require.True(t, is, query)
		require.NotContains(t, f.Text, "secret", query)
		if want.Text == "*" && f.Text != "" {
			want.Text = f.Text
		}
		require.Equal(t, want, f, "%s: %v", query, err)
	}
}
