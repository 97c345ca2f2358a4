package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltz-log/waltz/applier"
)

// state is what is known about an SQLSTATE.
type state struct {
	name  string
	class applier.Class
}

// states are the codes that need a class of their own, or whose name tells an
// operator more. Names are those of PostgreSQL, appendix A
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
var states = map[string]state{
	// Over at once: run it again. Chapter 13.5, serialization failure handling.
	"40000": {"transaction_rollback", applier.ClassRetry},
	"40001": {"serialization_failure", applier.ClassRetry},
	"40002": {"transaction_integrity_constraint_violation", applier.ClassData}, // a constraint that was deferred
	"40003": {"statement_completion_unknown", applier.ClassUnknown},
	"40P01": {"deadlock_detected", applier.ClassRetry},
	"72000": {"snapshot_too_old", applier.ClassRetry},

	// Passes: locks, limits, a server that goes down or comes up, a fail-over.
	"08007": {"transaction_resolution_unknown", applier.ClassUnknown},
	"25006": {"read_only_sql_transaction", applier.ClassBackOff}, // connected to what is a standby now
	"25P03": {"idle_in_transaction_session_timeout", applier.ClassBackOff},
	"25P04": {"transaction_timeout", applier.ClassBackOff},
	"55006": {"object_in_use", applier.ClassBackOff},
	"55P03": {"lock_not_available", applier.ClassBackOff},
	"57014": {"query_canceled", applier.ClassBackOff}, // statement_timeout, or an operator
	"57P01": {"admin_shutdown", applier.ClassBackOff},
	"57P02": {"crash_shutdown", applier.ClassBackOff},
	"57P03": {"cannot_connect_now", applier.ClassBackOff},
	"57P04": {"database_dropped", applier.ClassConfiguration},
	"57P05": {"idle_session_timeout", applier.ClassBackOff},
	"53300": {"too_many_connections", applier.ClassBackOff},
	"53200": {"out_of_memory", applier.ClassBackOff},

	// Passes once somebody does something.
	"53100": {"disk_full", applier.ClassPage},
	"53400": {"configuration_limit_exceeded", applier.ClassPage},
	"58030": {"io_error", applier.ClassPage},

	// Data.
	"21000": {"cardinality_violation", applier.ClassData}, // ON CONFLICT DO UPDATE met a row twice: fold first
	"22001": {"string_data_right_truncation", applier.ClassData},
	"22003": {"numeric_value_out_of_range", applier.ClassData},
	"22012": {"division_by_zero", applier.ClassData},
	"22P02": {"invalid_text_representation", applier.ClassData},
	"22021": {"character_not_in_repertoire", applier.ClassData},
	"23502": {"not_null_violation", applier.ClassData},
	"23503": {"foreign_key_violation", applier.ClassData},
	"23505": {"unique_violation", applier.ClassData},
	"23514": {"check_violation", applier.ClassData},
	"23P01": {"exclusion_violation", applier.ClassData},
	"P0001": {"raise_exception", applier.ClassData}, // a trigger of the application's

	// Configuration.
	"42501": {"insufficient_privilege", applier.ClassConfiguration},
	"42601": {"syntax_error", applier.ClassConfiguration},
	"42703": {"undefined_column", applier.ClassConfiguration},
	"42804": {"datatype_mismatch", applier.ClassConfiguration},
	"42883": {"undefined_function", applier.ClassConfiguration},
	"42P01": {"undefined_table", applier.ClassConfiguration},
	"42P05": {"duplicate_prepared_statement", applier.ClassConfiguration}, // a pooler that was not seen
	"26000": {"invalid_sql_statement_name", applier.ClassConfiguration},   // likewise
	"55000": {"object_not_in_prerequisite_state", applier.ClassConfiguration},

	// Ours.
	"25P01": {"no_active_sql_transaction", applier.ClassBug},
	"25P02": {"in_failed_sql_transaction", applier.ClassBug},
}

// families are the classes of all other codes, by their first two characters.
var families = map[string]applier.Class{
	"08": applier.ClassBackOff, // connection; PgBouncer says all its own troubles as 08P01
	"0A": applier.ClassConfiguration,
	"0L": applier.ClassConfiguration, "0P": applier.ClassConfiguration,
	"21": applier.ClassData, "22": applier.ClassData, "23": applier.ClassData,
	"28": applier.ClassConfiguration,
	"38": applier.ClassData, "39": applier.ClassConfiguration, // functions of the application's
	"3D": applier.ClassConfiguration, "3F": applier.ClassConfiguration,
	"40": applier.ClassRetry,
	"42": applier.ClassConfiguration,
	"44": applier.ClassData, // WITH CHECK OPTION
	"53": applier.ClassBackOff,
	"54": applier.ClassData, // a row, or a statement, that is too large
	"55": applier.ClassBackOff,
	"57": applier.ClassBackOff,
	"58": applier.ClassBackOff,
	"F0": applier.ClassConfiguration,
	"HV": applier.ClassBackOff, // a foreign server
	"P0": applier.ClassData,    // PL/pgSQL
	"XX": applier.ClassConfiguration,
}

// lostError is trouble of the connection.
type lostError struct{ err error }

func (e *lostError) Error() string { return "connection: " + plainly(e.err).Error() }
func (e *lostError) Unwrap() error { return e.err }

// commitError is an error of COMMIT.
type commitError struct{ err error }

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// unknown reports whether the SQL transaction may have been committed. An error that
// does not end the connection is an answer. One that does is not: a server
// that waits for its standbys can be told to shut down after it has committed.
func (e *commitError) unknown() bool {
	p, is := errors.AsType[*pgconn.PgError](e.err)
	return !is || fatal(p)
}

func fatal(p *pgconn.PgError) bool {
	return p.SeverityUnlocalized == "FATAL" || p.SeverityUnlocalized == "PANIC"
}

// connectionCode is the code of trouble that is the connection's, not the server's.
const connectionCode = "connection"

// fault classifies an error of PostgreSQL or of the connection to it.
func fault(err error) (applier.Fault, bool) {
	f, is := stateFault(err)
	if !is {
		if _, lost := errors.AsType[*lostError](err); lost {
			f, is = applier.Fault{Class: applier.ClassBackOff, Code: connectionCode, Text: lostText(err)}, true
		}
	}
	if e, commit := errors.AsType[*commitError](err); commit && e.unknown() {
		f.Class, is = applier.ClassUnknown, true
	}
	return f, is
}

func stateFault(err error) (applier.Fault, bool) {
	p, is := errors.AsType[*pgconn.PgError](err)
	if !is {
		return applier.Fault{}, false
	}
	s, known := states[p.Code]
	if !known {
		class, known := families[p.Code[:min(2, len(p.Code))]]
		if !known {
			class = applier.ClassBug
		}
		s = state{"", class}
	}
	if stalePlan(p) {
		s = state{"stale_plan", applier.ClassRetry}
	}
	return applier.Fault{Class: s.class, Code: p.Code, Text: describe(s.name, p)}, true
}

// stalePlan is how a prepared statement meets a table that was altered: a fresh
// connection helps.
func stalePlan(p *pgconn.PgError) bool {
	return p.Code == "0A000" && strings.Contains(p.Message, "cached plan")
}

// describe says what is wrong without the values that message and detail may have.
func describe(name string, p *pgconn.PgError) string {
	parts := []string{name}
	for _, n := range []struct{ what, name string }{{"constraint", p.ConstraintName}, {"table", p.TableName}, {"column", p.ColumnName}, {"type", p.DataTypeName}} {
		if n.name != "" {
			parts = append(parts, fmt.Sprintf("%s %s", n.what, n.name))
		}
	}
	if name == "" {
		parts = parts[1:]
	}
	return strings.Join(parts, ", ")
}

// tainted reports whether an error may come from what the connection remembers.
func tainted(err error) bool {
	f, is := fault(err)
	return is && f.Class != applier.ClassData
}
