package mysql

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// scheme stands before the address of a database.
const scheme = "mysql"

// IsURL reports whether addr is, or was meant to be, an address of a database of
// this kind: it begins with "mysql:".
func IsURL(addr string) bool {
	name, _, found := strings.Cut(addr, ":")
	return found && strings.EqualFold(name, scheme)
}

// pinned are the parameters with one value, and why.
var pinned = map[string]struct {
	values []string
	why    string
}{
	"clientFoundRows":       {yes, "a row that was found and already held its values must count, or a lease that is renewed looks lost"},
	"interpolateParams":     {yes, "without it each statement takes three round trips"},
	"multiStatements":       {no, "the text of a handler could hold a COMMIT"},
	"parseTime":             {yes, "times are time.Time"},
	"loc":                   {[]string{"UTC"}, "times in the database are UTC"},
	"time_zone":             {[]string{"'+00:00'", "+00:00"}, "times in the database are UTC"},
	"rejectReadOnly":        {yes, "after a fail-over the connection to the old server must be given up"},
	"autocommit":            {yes, "the framework begins and ends SQL transactions itself"},
	"charset":               {[]string{"utf8mb4"}, "others can't hold every text"},
	"maxAllowedPacket":      {[]string{"0"}, "the server is asked"},
	"transaction_isolation": {[]string{"'READ-COMMITTED'", "READ-COMMITTED"}, "the compare-and-set already puts appliers of a partition in a row"},
	"tx_isolation":          {[]string{"'READ-COMMITTED'", "READ-COMMITTED"}, "the compare-and-set already puts appliers of a partition in a row"},
	"allowAllFiles":         {no, "a server could ask for any file of this machine"},
	"columnsWithAlias":      {no, "columns are named as the statement names them"},
}

var (
	yes = []string{"true", "1", "TRUE", "True"}
	no  = []string{"false", "0", "FALSE", "False"}
)

// passed are the parameters that the driver gets as they are.
var passed = []string{
	"tls", "timeout", "readTimeout", "writeTimeout", "collation", "allowCleartextPasswords", "allowNativePasswords",
	"serverPubKey", "connectionAttributes", "compress",
}

// connectTimeout bounds connecting, if the address doesn't.
const connectTimeout = 10 * time.Second

// address is what an address says: the driver's configuration, with everything
// that we rely on, and the settings of a session.
type address struct {
	config  *driver.Config
	session session
	text    string // without the password: for errors
}

// session is what a connection sets.
type session struct {
	mode     string // sql_mode
	lockWait int    // seconds
	idle     int    // seconds; 0: by the options
}

// strictMode is the sql_mode of every connection, if the address names none: data that
// does not fit is an error, never cut or rounded to fit.
const strictMode = "STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"

// parse reads mysql://user:password@host:port/database?parameters, and returns
// all that is wrong with it.
func parse(addr string) (*address, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return nil, fmt.Errorf("address of a database: %w", errors.Unwrap(err)) // its text would show the password
	}
	if !strings.EqualFold(u.Scheme, scheme) || u.Opaque != "" || u.Fragment != "" {
		return nil, fmt.Errorf("address of a database: it is not written as %s://user:password@host:port/database", scheme) // where a password would stand is not known
	}
	a := &address{text: u.Redacted(), session: session{mode: strictMode, lockWait: 10}}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", a.text, err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	wrong := a.parameters(q)
	if name == "" || strings.Contains(name, "/") {
		wrong = append(wrong, fmt.Errorf("%q is no name of a database: want %s://user:password@host:port/database", name, scheme))
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("database %q: %w", a.text, errors.Join(wrong...))
	}
	a.config.DBName = name
	a.config.User = u.User.Username()
	a.config.Passwd, _ = u.User.Password()
	a.config.Net, a.config.Addr = "tcp", hostPort(u)
	if path := q.Get("socket"); path != "" {
		a.config.Net, a.config.Addr = "unix", path
	}
	return a, a.pin()
}

func hostPort(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "3306"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// parameters sorts out what is given, and returns what is wrong.
func (a *address) parameters(q url.Values) (wrong []error) {
	given := make([]string, 0, len(q))
	for name := range q {
		given = append(given, name)
	}
	sort.Strings(given)
	dsn := url.Values{}
	for _, name := range given {
		value := q.Get(name)
		switch pin, is := pinned[name]; {
		case len(q[name]) > 1:
			wrong = append(wrong, fmt.Errorf("%s is given %d times", name, len(q[name])))
		case is && !slices.Contains(pin.values, value):
			wrong = append(wrong, fmt.Errorf("%s=%s: leave it out, or write %s=%s: %s", name, value, name, pin.values[0], pin.why))
		case is || name == "socket":
		case slices.Contains(passed, name):
			dsn.Set(name, value)
		default:
			wrong = append(wrong, a.session.set(name, value))
		}
	}
	if c := q.Get("collation"); c != "" && !strings.HasPrefix(c, "utf8mb4_") {
		wrong = append(wrong, fmt.Errorf("collation=%s: want one of utf8mb4's: others can't hold every text", c))
	}
	config, err := driver.ParseDSN("/?" + dsn.Encode())
	if err != nil {
		wrong = append(wrong, err)
	}
	a.config = config
	return slices.DeleteFunc(wrong, func(err error) bool { return err == nil })
}

// set takes a session variable.
func (s *session) set(name, value string) error {
	switch name {
	case "sql_mode":
		mode := strings.ToUpper(strings.Trim(value, "' "))
		if err := checkMode(mode); err != nil {
			return fmt.Errorf("sql_mode=%s: %w", value, err)
		}
		s.mode = mode
		return nil
	case "innodb_lock_wait_timeout":
		return seconds(name, value, &s.lockWait)
	case "idle_timeout":
		return seconds(name, value, &s.idle)
	}
	return fmt.Errorf("unknown parameter %s=%s", name, value)
}

func seconds(name, value string, to *int) error {
	n := 0
	if _, err := fmt.Sscanf(value, "%d", &n); err != nil || n < 1 || n > 3600 || fmt.Sprint(n) != value {
		return fmt.Errorf("%s=%s: want 1 to 3600 seconds", name, value)
	}
	*to = n
	return nil
}

// checkMode refuses an sql_mode that would bend data, or that our literals are not
// written for.
func checkMode(mode string) error {
	modes := strings.Split(mode, ",")
	if !slices.Contains(modes, "STRICT_TRANS_TABLES") && !slices.Contains(modes, "STRICT_ALL_TABLES") && !slices.Contains(modes, "TRADITIONAL") {
		return errors.New("add STRICT_TRANS_TABLES: data that does not fit must be an error, not cut to fit")
	}
	if slices.Contains(modes, "NO_BACKSLASH_ESCAPES") {
		return errors.New("leave out NO_BACKSLASH_ESCAPES: values are written with them")
	}
	if strings.ContainsAny(mode, "'\\\"") {
		return errors.New("want names and commas")
	}
	return nil
}

// pin sets what has one value.
func (a *address) pin() error {
	c := a.config
	c.ClientFoundRows, c.InterpolateParams, c.MultiStatements, c.ParseTime = true, true, false, true
	c.Loc, c.RejectReadOnly, c.MaxAllowedPacket = time.UTC, true, 0
	c.AllowAllFiles, c.ColumnsWithAlias, c.CheckConnLiveness = false, false, true
	c.Logger = &driver.NopLogger{} // what it says comes as an error, too
	if c.Timeout == 0 {
		c.Timeout = connectTimeout
	}
	if err := c.Apply(driver.Charset("utf8mb4", c.Collation)); err != nil {
		return fmt.Errorf("database %q: %w", a.text, err)
	}
	return nil
}
