package sqlite

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

func scan(dest []any, values []driver.Value, columns []string) error {
	if len(dest) != len(values) {
		return fmt.Errorf("scan: %d destinations for %d columns", len(dest), len(values))
	}
	for i, d := range dest {
		if err := assign(d, values[i]); err != nil {
			return fmt.Errorf("scan column %d (%s): %w", i+1, columns[i], err)
		}
	}
	return nil
}

// assign copies a value to where dest points. The usual pairs need no reflection.
func assign(dest any, v driver.Value) error {
	switch d := dest.(type) {
	case *int64:
		if v, is := v.(int64); is {
			*d = v
			return nil
		}
	case *int:
		if v, is := v.(int64); is {
			*d = int(v)
			return nil
		}
	case *string:
		if v, is := v.(string); is {
			*d = v
			return nil
		}
	case *[]byte:
		if v, is := v.([]byte); is {
			*d = v
			return nil
		}
	case *any:
		*d = v
		return nil
	case sql.Scanner:
		return d.Scan(v)
	}
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("destination %T is not a pointer", dest)
	}
	return convert(p.Elem(), v)
}

// convert is assign for every other pair. Nothing is cut off silently. Errors
// name types, never values.
func convert(d reflect.Value, v driver.Value) error {
	if d.Kind() == reflect.Pointer {
		return convertPointer(d, v)
	}
	ok := false
	switch v := v.(type) {
	case nil:
		return fmt.Errorf("NULL does not fit into %s: scan into a pointer to it, or sql.Null", d.Type())
	case int64:
		ok = setInt(d, v)
	case float64:
		if ok = d.CanFloat(); ok {
			d.SetFloat(v)
		}
	case string:
		ok = setText(d, []byte(v))
	case []byte:
		ok = setText(d, v)
	case time.Time:
		if ok = d.Type() == reflect.TypeFor[time.Time](); ok {
			d.Set(reflect.ValueOf(v))
		}
	}
	if !ok {
		return fmt.Errorf("%T does not fit into %s", v, d.Type())
	}
	return nil
}

func convertPointer(d reflect.Value, v driver.Value) error {
	if v == nil {
		d.SetZero()
		return nil
	}
	d.Set(reflect.New(d.Type().Elem()))
	return convert(d.Elem(), v)
}

func setInt(d reflect.Value, v int64) bool {
	switch {
	case d.CanInt() && !d.OverflowInt(v):
		d.SetInt(v)
	case d.CanUint() && v >= 0 && !d.OverflowUint(uint64(v)):
		d.SetUint(uint64(v))
	case d.CanFloat() && v >= -1<<53 && v <= 1<<53:
		d.SetFloat(float64(v))
	case d.Kind() == reflect.Bool && (v == 0 || v == 1):
		d.SetBool(v == 1)
	case d.Kind() == reflect.String:
		d.SetString(strconv.FormatInt(v, 10))
	default:
		return false
	}
	return true
}

func setText(d reflect.Value, v []byte) bool {
	switch {
	case d.Kind() == reflect.String:
		d.SetString(string(v))
	case d.Kind() == reflect.Slice && d.Type().Elem().Kind() == reflect.Uint8:
		d.SetBytes(append([]byte{}, v...))
	default:
		return false
	}
	return true
}
