package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/waltz"
)

var committed = []waltz.Committed{
	{ID: 0, Header: 10, Time: time.Unix(1, 0).UTC(), Key: "k", Data: []byte(`{"a":1}`), DataLen: 7},
	{ID: 1, Header: -2, Time: time.Unix(2, 0).UTC(), Data: []byte{0xff, 0}, DataLen: 2},
	{ID: 2, Header: 11, Time: time.Unix(3, 0).UTC(), DataLen: 99, Skipped: true},
}

func TestRecordsAreOneJSONObject(t *testing.T) {
	for n := range len(committed) + 1 {
		var out bytes.Buffer
		cmd := newRoot()
		cmd.SetOut(&out)
		require.NoError(t, cmd.ParseFlags([]string{"--output", "json"}))
		printer, err := newRecordPrinter(cmd, 3)
		require.NoError(t, err)
		for _, c := range committed[:n] {
			require.NoError(t, printer.print(c))
		}
		require.NoError(t, printer.close())

		var got struct {
			Partition    int
			Count        int
			Transactions []recordJSON
		}
		require.NoError(t, json.Unmarshal(out.Bytes(), &got), out.String())
		require.Equal(t, 3, got.Partition)
		require.Equal(t, n, got.Count)
		require.Len(t, got.Transactions, n)
	}
}

func TestRecordJSON(t *testing.T) {
	text := toJSON(committed[0])
	require.Equal(t, `{"a":1}`, *text.Data)
	require.Empty(t, text.DataBase64)

	binary := toJSON(committed[1])
	require.Nil(t, binary.Data)
	require.Equal(t, "/wA=", binary.DataBase64)

	skipped := toJSON(committed[2])
	require.Nil(t, skipped.Data)
	require.Empty(t, skipped.DataBase64)
	require.Equal(t, 99, skipped.DataBytes)
}

func TestPreviewIsOneLine(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{`{"a":"b"}`, `{"a":"b"}`},
		{"two\nlines", `"two\nlines"`},
		{"\xff", `"\xff"`},
		{"", ""},
		{strings.Repeat("x", 200), strings.Repeat("x", previewBytes) + "…"},
	} {
		require.Equal(t, c.want, preview(waltz.Committed{Data: []byte(c.data)}))
	}
	require.Equal(t, "(99 bytes)", preview(committed[2]))
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	ago, err := parseTime("1h30m", now)
	require.NoError(t, err)
	require.Equal(t, now.Add(-90*time.Minute), ago)
	at, err := parseTime("2026-01-31T13:00:00+01:00", now)
	require.NoError(t, err)
	require.True(t, at.Equal(now))
	_, err = parseTime("noon", now)
	var usage *usageError
	require.ErrorAs(t, err, &usage)
}
