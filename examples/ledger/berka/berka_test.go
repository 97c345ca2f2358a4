package berka

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const header = `"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"`

func TestReadRow(t *testing.T) {
	rows, bad, err := Read(strings.NewReader(header + "\n" +
		`452728;1539;930103;"PRIJEM";"VKLAD";600.00;600.00;"";;` + "\r\n" +
		`497212;1695;940228;"VYDAJ";"a;b";0.5;-200.1;"UROK";AB;123`))
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Equal(t, []Row{
		{Line: 2, TransID: 452728, Account: 1539, Date: "1993-01-03", Type: Income, AmountMinor: 60000},
		{Line: 3, TransID: 497212, Account: 1695, Date: "1994-02-28", Type: Expense, AmountMinor: 50},
	}, rows)
}

func TestReadNamesBadRowsByLine(t *testing.T) {
	for name, tc := range map[string]struct{ row, want string }{
		"too few fields":   {`1;2;930103`, "3 fields, want 10"},
		"empty line":       {``, "1 fields, want 10"},
		"no number":        {`x;2;930103;"PRIJEM";"";1.00;1.00;"";;`, `trans_id "x"`},
		"negative account": {`1;-2;930103;"PRIJEM";"";1.00;1.00;"";;`, `account_id "-2"`},
		"no such day":      {`1;2;930230;"PRIJEM";"";1.00;1.00;"";;`, `date "930230"`},
		"long date":        {`1;2;9301031;"PRIJEM";"";1.00;1.00;"";;`, `date "9301031"`},
		"type":             {`1;2;930103;"PRIJEMX";"";1.00;1.00;"";;`, `type "PRIJEMX"`},
		"three decimals":   {`1;2;930103;"PRIJEM";"";1.001;1.00;"";;`, `amount "1.001"`},
		"nothing":          {`1;2;930103;"PRIJEM";"";0.00;1.00;"";;`, `amount "0.00"`},
		"negative":         {`1;2;930103;"PRIJEM";"";-1.00;1.00;"";;`, `amount "-1.00"`},
		"too much":         {`1;2;930103;"PRIJEM";"";99999999999999999999.00;1.00;"";;`, `amount "99999999999999999999.00": too large, want at most 10000000000.00`},
		"half of an int64": {`1;2;930103;"PRIJEM";"";92233720368547758.07;1.00;"";;`, `amount "92233720368547758.07": too large, want at most 10000000000.00`},
		"just too much":    {`1;2;930103;"PRIJEM";"";10000000000.01;1.00;"";;`, `amount "10000000000.01": too large`},
		"large account":    {`1;99999999999999999999;930103;"PRIJEM";"";1.00;1.00;"";;`, `account_id "99999999999999999999": too large, want at most 9223372036854775807`},
		"shown as it is":   {`1;2;930103;"P\x"";"";1.00;1.00;"";;`, `"";"";1.00;1.00;"";;" after a closing quote`},
		"no terminal code": {"1;2;930103;\"\x1b[2J\";\"\";1.00;1.00;\"\";;", `type "?[2J": want`},
		"long line":        {`1;2;930103;"` + strings.Repeat("x", 70_000) + `";"";1.00;1.00;"";;`, `longer than 65536 bytes`},
		"no amount":        {`1;2;930103;"PRIJEM";"";;1.00;"";;`, `amount ""`},
		"balance":          {`1;2;930103;"PRIJEM";"";1.00;one;"";;`, `balance "one"`},
		"open quote":       {`1;2;930103;"PRIJEM;"";1.00;1.00;"";;`, `after a closing quote`},
		"quote to the end": {`1;2;930103;PRIJEM;"x;1.00;1.00;;;`, `a quote is not closed`},
		"twice":            {`7;2;930103;"PRIJEM";"";1.00;1.00;"";;`, `trans_id 7 stands in line 2 already`},
	} {
		t.Run(name, func(t *testing.T) {
			rows, bad, err := Read(strings.NewReader(header + "\n" + `7;1;930103;"PRIJEM";"";1.00;1.00;"";;` + "\n" + tc.row + "\n"))
			require.NoError(t, err)
			require.Len(t, rows, 1)
			require.Len(t, bad, 1)
			require.Equal(t, 3, bad[0].Line)
			require.ErrorContains(t, bad[0], tc.want)
		})
	}
}

// A long line is a bad row as any other: those behind it are read.
func TestReadGoesOnBehindLongLines(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	row := `;1;930103;"PRIJEM";"";1.00;1.00;"";;`
	rows, bad, err := Read(strings.NewReader(header + "\n" + long + "\n1" + row + "\n" + long + "\r\n2" + row + "\n" + long))
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, []int{3, 5}, []int{rows[0].Line, rows[1].Line})
	require.Len(t, bad, 3)
	require.Equal(t, []int{2, 4, 6}, []int{bad[0].Line, bad[1].Line, bad[2].Line})

	rows, bad, err = Read(strings.NewReader(header + "\n1" + row)) // a last line needs no end
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Len(t, rows, 1)
}

func TestReadRefusesOtherFiles(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "no header": "1;2;930103;\"PRIJEM\";\"\";1.00;1.00;\"\";;\n", "binary": strings.Repeat("\x00", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Read(strings.NewReader(content))
			require.Error(t, err)
		})
	}
}

func TestGenerate(t *testing.T) {
	var trans, expected bytes.Buffer
	require.NoError(t, Generate(&trans, &expected, 1000, 7))
	rows, bad, err := Read(bytes.NewReader(trans.Bytes()))
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Len(t, rows, 1000)

	sums, below := map[int64][2]int64{}, false
	for i, r := range rows {
		s := sums[int64(r.Account)]
		sums[int64(r.Account)] = [2]int64{s[0] + 1, s[1] + r.Signed()}
		below = below || s[1]+r.Signed() < 0
		require.True(t, i == 0 || rows[i-1].Date <= r.Date)
	}
	require.True(t, below, "some account is overdrawn for a while")
	for _, line := range strings.Split(strings.TrimSpace(expected.String()), "\n")[1:] {
		var account, n, balance int64
		_, err := fmt.Sscanf(line, "%d,%d,%d", &account, &n, &balance)
		require.NoError(t, err)
		require.Equal(t, sums[account], [2]int64{n, balance})
		delete(sums, account)
	}
	require.Empty(t, sums)

	var again, discarded bytes.Buffer
	require.NoError(t, Generate(&again, &discarded, 1000, 7))
	require.Equal(t, trans.String(), again.String(), "a seed always makes the same rows")
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(header + "\n1;2;930103;\"PRIJEM\";\"\";1.00;1.00;\"\";;\n"))
	f.Add([]byte(header + "\n1;2;\"\"\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, _, _ := Read(bytes.NewReader(data))
		for _, r := range rows {
			require.Positive(t, r.TransID)
			require.Positive(t, r.Account)
			require.Positive(t, r.AmountMinor)
			require.Greater(t, r.Line, 1)
		}
	})
}
