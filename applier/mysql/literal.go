package mysql

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// appendLiteral appends a value as it stands in a statement. Strings are text, in
// utf8mb4; []byte is binary; times are UTC, to the microsecond.
func appendLiteral(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(b, "NULL"...), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(b, int64(v), 10), nil
	case uint32:
		return strconv.AppendUint(b, uint64(v), 10), nil
	case uint64:
		return strconv.AppendUint(b, v, 10), nil
	case string:
		return appendText(b, v), nil
	case json.RawMessage:
		return appendText(b, string(v)), nil
	case []byte:
		if v == nil {
			return append(b, "NULL"...), nil
		}
		return appendText(append(b, "_binary"...), string(v)), nil
	case bool:
		if v {
			return append(b, '1'), nil
		}
		return append(b, '0'), nil
	case float64:
		return appendFloat(b, v, 64)
	case time.Time:
		return appendTime(b, v)
	case driver.Valuer:
		return appendValuer(b, v)
	}
	return appendKind(b, reflect.ValueOf(value))
}

// appendKind is for named types, and pointers to what may be NULL.
func appendKind(b []byte, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case reflect.Float32:
		return appendFloat(b, v.Float(), 32)
	case reflect.Float64:
		return appendFloat(b, v.Float(), 64)
	case reflect.Bool:
		return appendLiteral(b, v.Bool())
	case reflect.String:
		return appendText(b, v.String()), nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendLiteral(b, v.Bytes())
		}
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, "NULL"...), nil
		}
		return appendLiteral(b, v.Elem().Interface())
	}
	return b, fmt.Errorf("a %s can't be a value of a column", v.Type())
}

// appendValuer asks a value for its form, unless it is a nil pointer that would
// not know.
func appendValuer(b []byte, v driver.Valuer) ([]byte, error) {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
		return append(b, "NULL"...), nil
	}
	value, err := v.Value()
	if err != nil {
		return b, err
	}
	if _, again := value.(driver.Valuer); again {
		return b, fmt.Errorf("the value of a %T is another driver.Valuer", v)
	}
	return appendLiteral(b, value)
}

var errNoNumber = errors.New("infinity and NaN have no place in a column")

func appendFloat(b []byte, v float64, bits int) ([]byte, error) {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return b, errNoNumber
	}
	return strconv.AppendFloat(b, v, 'e', -1, bits), nil // without an exponent it would be a decimal
}

func appendTime(b []byte, t time.Time) ([]byte, error) {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 || t.IsZero() {
		return b, fmt.Errorf("year %d has no place in a column", y)
	}
	return t.Truncate(time.Microsecond).AppendFormat(b, "'2006-01-02 15:04:05.999999'"), nil
}

// special are the bytes that can't stand for themselves in quotes. None of them is a
// part of a longer character in UTF-8.
const special = "\x00\n\r\x1a'\"\\"

func appendText(b []byte, s string) []byte {
	b = append(b, '\'')
	for {
		i := strings.IndexAny(s, special)
		if i < 0 {
			return append(append(b, s...), '\'')
		}
		b = append(append(b, s[:i]...), '\\', escape(s[i]))
		s = s[i+1:]
	}
}

func escape(c byte) byte {
	switch c {
	case 0:
		return '0'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case 0x1a:
		return 'Z'
	}
	return c
}
