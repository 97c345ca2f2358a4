package berka

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// lineBytesMax bounds a line, so that a file of another kind does not fill the memory.
const lineBytesMax = 1 << 16

var errLong = fmt.Errorf("longer than %d bytes, which is the most for a line", lineBytesMax)

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
	from := bufio.NewReaderSize(r, lineBytesMax)
	seen := map[int64]int{}
	line := 0
	for {
		text, err := readLine(from)
		if errors.Is(err, io.EOF) {
			break
		}
		if line++; err != nil && !errors.Is(err, errLong) {
			return nil, nil, fmt.Errorf("line %d: %w", line, err)
		}
		if line == 1 {
			if err := errors.Join(err, checkHeader(text)); err != nil {
				return nil, nil, fmt.Errorf("line 1: %w", err)
			}
			continue
		}
		var row Row
		if err == nil {
			row, err = parseRow(text)
		}
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
	if line == 0 {
		return nil, nil, errors.New("file is empty: want a header line and rows")
	}
	return rows, bad, nil
}

// readLine returns the next line without its end, io.EOF after the last one, or errLong
// when it has passed a line that is too long.
func readLine(r *bufio.Reader) (string, error) {
	text, err := r.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(text) > 0 {
		err = nil
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return "", errLong
}

func checkHeader(line string) error {
	fields, err := split(line)
	if err != nil || !slices.Equal(fields, fieldNames) {
		return fmt.Errorf("not the header of a transaction file, want %s", strings.Join(fieldNames, ";"))
	}
	return nil
}
