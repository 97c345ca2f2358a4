package postgres

import (
	"fmt"
	"strings"
)

// limit is a setting of the server that ends what hangs, in milliseconds.
type limit struct {
	name, value string
	version     int // the first that has it
}

type limits []limit

// takeLimits takes those that an address names out of what a connection is greeted
// with, since poolers refuse what they don't know. The others have defaults.
func takeLimits(greeting map[string]string) limits {
	l := limits{
		{"statement_timeout", "60000", versionMin},
		{"lock_timeout", "10000", versionMin},
		{"idle_in_transaction_session_timeout", "10000", versionMin},
		{"transaction_timeout", "300000", 170000},
	}
	for i := range l {
		if own, has := greeting[l[i].name]; has {
			l[i].value = own
			delete(greeting, l[i].name)
		}
	}
	return l
}

// of leaves out what a server does not have.
func (l limits) of(version int) limits {
	var out limits
	for _, x := range l {
		if x.version <= version {
			out = append(out, x)
		}
	}
	return out
}

// put sets them for a connection.
func (l limits) put(greeting map[string]string) {
	for _, x := range l {
		greeting[x.name] = x.value
	}
}

// local is a statement that sets them for one SQL transaction.
func (l limits) local() string {
	var set []string
	for _, x := range l {
		set = append(set, fmt.Sprintf("set_config('%s', '%s', true)", x.name, strings.ReplaceAll(x.value, "'", "''")))
	}
	return "SELECT " + strings.Join(set, ", ")
}
