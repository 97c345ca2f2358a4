package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

// recordJSON is how a committed transaction is printed. Data that is no UTF-8
// text comes in base64.
type recordJSON struct {
	TransactionID waltz.ID     `json:"transaction_id"`
	Header        waltz.Header `json:"header"`
	Time          time.Time    `json:"time"`
	Key           string       `json:"key,omitempty"`
	DataBytes     int          `json:"data_bytes"`
	Data          *string      `json:"data,omitempty"`
	DataBase64    string       `json:"data_base64,omitempty"`
}

func toJSON(c waltz.Committed) recordJSON {
	r := recordJSON{TransactionID: c.ID, Header: c.Header, Time: c.Time, Key: c.Key, DataBytes: c.DataLen}
	switch {
	case c.Skipped:
	case utf8.Valid(c.Data):
		text := string(c.Data)
		r.Data = &text
	default:
		r.DataBase64 = base64.StdEncoding.EncodeToString(c.Data)
	}
	return r
}

// recordPrinter prints transactions as they come. In JSON they are elements of
// one object that is complete when the printer is closed, so that a log of any
// length prints in bounded memory.
type recordPrinter struct {
	out       io.Writer
	json      bool
	partition waltz.Partition
	count     int
}

func newRecordPrinter(cmd *cobra.Command, p waltz.Partition) (*recordPrinter, error) {
	f, err := format(cmd)
	if err != nil {
		return nil, err
	}
	r := &recordPrinter{out: cmd.OutOrStdout(), json: f == "json", partition: p}
	if r.json {
		_, err = fmt.Fprintf(r.out, `{"partition":%d,"transactions":[`, p)
	} else {
		_, err = fmt.Fprintf(r.out, "%12s  %10s  %-27s  %s\n", "id", "header", "time", "data")
	}
	return r, err
}

func (r *recordPrinter) print(c waltz.Committed) error {
	r.count++
	if !r.json {
		_, err := fmt.Fprintf(r.out, "%12d  %10d  %-27s  %s\n", c.ID, c.Header, c.Time.Format("2006-01-02T15:04:05.000000Z"), preview(c))
		return err
	}
	separator := ",\n"
	if r.count == 1 {
		separator = "\n"
	}
	text, err := json.Marshal(toJSON(c))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "%s%s", separator, text)
	return err
}

func (r *recordPrinter) close() error {
	if !r.json {
		return nil
	}
	_, err := fmt.Fprintf(r.out, "\n],\"count\":%d}\n", r.count)
	return err
}

const previewBytes = 120

// preview is the beginning of the data on one line: as it is if it is printable
// text, else quoted.
func preview(c waltz.Committed) string {
	if c.Skipped {
		return fmt.Sprintf("(%d bytes)", c.DataLen)
	}
	text, more := string(c.Data), ""
	if len(text) > previewBytes {
		text, more = text[:previewBytes], "…"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsGraphic(r) || r == utf8.RuneError }) {
		return strconv.QuoteToGraphic(text) + more
	}
	return text + more
}
