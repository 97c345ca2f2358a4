package berka

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// lineBytesMax bounds a line, so that a file of another kind is refused before it
// fills the memory.
const lineBytesMax = 1 << 16

// BadRow is a row that cannot be imported.
type BadRow struct {
	Line int
	Err  error
}

func (b BadRow) Error() string { return fmt.Sprintf("line %d: %v", b.Line, b.Err) }

// Unwrap returns what is wrong.
func (b BadRow) Unwrap() error { return b.Err }

// Read reads a whole file: its good rows in order, and its bad ones. A trans_id
// that stands twice is bad the second time. err is for a file that is none of the
// kind, or cannot be read.
func Read(r io.Reader) (rows []Row, bad []BadRow, err error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, lineBytesMax)
	seen := map[int64]int{}
	line := 0
	for scanner.Scan() {
		line++
		text := strings.TrimSuffix(scanner.Text(), "\r")
		if line == 1 {
			if err := checkHeader(text); err != nil {
				return nil, nil, fmt.Errorf("line 1: %w", err)
			}
			continue
		}
		row, err := parseRow(text)
		if first, twice := seen[row.TransID]; err == nil && twice {
			err = fmt.Errorf("trans_id %d stands in line %d already", row.TransID, first)
		}
		if err != nil {
			bad = append(bad, BadRow{line, err})
			continue
		}
		row.Line = line
		seen[row.TransID] = line
		rows = append(rows, row)
	}
	if err := scanner.Err(); err != nil {
		return nil, nil, fmt.Errorf("line %d: %w", line+1, err)
	}
	if line == 0 {
		return nil, nil, errors.New("file is empty: want a header line and rows")
	}
	return rows, bad, nil
}

func checkHeader(line string) error {
	fields, err := split(line)
	if err != nil || !slices.Equal(fields, fieldNames) {
		return fmt.Errorf("not the header of a transaction file, want %s", strings.Join(fieldNames, ";"))
	}
	return nil
}
