package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
)

func TestFaults(t *testing.T) {
	answer := func(code, severity string) *pgconn.PgError {
		return &pgconn.PgError{Code: code, Severity: severity, SeverityUnlocalized: severity, Message: "secret 4711", Detail: "Key (a)=(4711)"}
	}
	for _, c := range []struct {
		err   error
		class applier.Class
	}{
		{answer("40001", "ERROR"), applier.ClassRetry},
		{answer("40P01", "ERROR"), applier.ClassRetry},
		{answer("40XXX", "ERROR"), applier.ClassRetry},
		{answer("55P03", "ERROR"), applier.ClassBackOff},
		{answer("57P01", "FATAL"), applier.ClassBackOff},
		{answer("08P01", "FATAL"), applier.ClassBackOff}, // PgBouncer
		{answer("25006", "ERROR"), applier.ClassBackOff},
		{answer("53300", "FATAL"), applier.ClassBackOff},
		{answer("53100", "ERROR"), applier.ClassPage},
		{answer("58030", "ERROR"), applier.ClassPage},
		{answer("23505", "ERROR"), applier.ClassData},
		{answer("22001", "ERROR"), applier.ClassData},
		{answer("22ZZZ", "ERROR"), applier.ClassData},
		{answer("54000", "ERROR"), applier.ClassData},
		{answer("44000", "ERROR"), applier.ClassData},
		{answer("P0001", "ERROR"), applier.ClassData},
		{answer("42P01", "ERROR"), applier.ClassConfiguration},
		{answer("42501", "ERROR"), applier.ClassConfiguration},
		{answer("28P01", "FATAL"), applier.ClassConfiguration},
		{answer("3D000", "FATAL"), applier.ClassConfiguration},
		{answer("26000", "ERROR"), applier.ClassConfiguration},
		{answer("0A000", "ERROR"), applier.ClassConfiguration},
		{answer("XX001", "ERROR"), applier.ClassConfiguration},
		{answer("25P02", "ERROR"), applier.ClassBug},
		{answer("99999", "ERROR"), applier.ClassBug},
		{&pgconn.PgError{Code: "0A000", Message: "cached plan must not change result type"}, applier.ClassRetry},
		{&lostError{io.ErrUnexpectedEOF}, applier.ClassBackOff},
		{&lostError{answer("57P03", "FATAL")}, applier.ClassBackOff},
		{&lostError{answer("28000", "FATAL")}, applier.ClassConfiguration},

		// Of COMMIT: an answer is an answer, the rest is open.
		{&commitError{answer("23503", "ERROR")}, applier.ClassData}, // a deferred constraint
		{&commitError{answer("40001", "ERROR")}, applier.ClassRetry},
		{&commitError{answer("40003", "ERROR")}, applier.ClassUnknown},
		{&commitError{answer("08007", "ERROR")}, applier.ClassUnknown},
		{&commitError{answer("57P01", "FATAL")}, applier.ClassUnknown}, // perhaps while it waited for a standby
		{&commitError{&lostError{io.EOF}}, applier.ClassUnknown},
		{&commitError{context.Canceled}, applier.ClassUnknown},
	} {
		f, is := fault(fmt.Errorf("wrapped: %w", c.err))
		require.True(t, is)
		require.Equal(t, c.class, f.Class, "%v", c.err)
		require.NotContains(t, f.Text, "4711", "no values")
	}
	for _, err := range []error{nil, errors.New("a handler's"), io.EOF, context.Canceled} {
		_, is := fault(err)
		require.False(t, is, "%v", err)
	}
}

func TestFaultNamesWhatIsWrong(t *testing.T) {
	f, _ := fault(&pgconn.PgError{Code: "23505", ConstraintName: "t_pkey", TableName: "t", Detail: "Key (id)=(4711) already exists."})
	require.Equal(t, applier.Fault{Class: applier.ClassData, Code: "23505", Text: "unique_violation, constraint t_pkey, table t"}, f)
	f, _ = fault(&pgconn.PgError{Code: "22ZZZ", ColumnName: "c"})
	require.Equal(t, "column c", f.Text)
	f, _ = fault(&pgconn.PgError{Code: "XX000"})
	require.Empty(t, f.Text)
}

// Every code that has a class of its own has the shape of one, and a name.
func TestTableOfStates(t *testing.T) {
	for code, s := range states {
		require.Len(t, code, 5)
		require.NotEmpty(t, s.name)
	}
	for family := range families {
		require.Len(t, family, 2)
	}
}
