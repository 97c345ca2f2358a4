package ledger_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

func drawEntry(t *rapid.T) ledger.Entry {
	text := rapid.OneOf(rapid.StringMatching(`[A-Z ]{0,8}`), rapid.String())
	number := rapid.Int64()
	e := ledger.Entry{
		Kind: rapid.SampledFrom([]ledger.Kind{ledger.KindTransfer, ledger.KindOut, ledger.KindIn, ledger.KindRefused}).Draw(t, "kind"),
		Type: text.Draw(t, "type"), BookedOn: ledger.Date(text.Draw(t, "booked")), AmountMinor: number.Draw(t, "amount"),
		From: ledger.Account(number.Draw(t, "from")), To: ledger.Account(number.Draw(t, "to")), AllowOverdraft: rapid.Bool().Draw(t, "allow"),
		Account: ledger.Account(number.Draw(t, "account")), Currency: text.Draw(t, "currency"), Reason: text.Draw(t, "reason"), Postings: []ledger.Posting{},
		Origin: &ledger.Origin{Partition: waltz.Partition(rapid.Int32().Draw(t, "partition")), ID: waltz.ID(number.Draw(t, "id"))},
	}
	if amount := rapid.Int64Range(0, ledger.AmountMax).Draw(t, "posted"); amount > 0 {
		for i, side := range []ledger.Side{ledger.Debit, ledger.Credit} {
			e.Postings = append(e.Postings, ledger.Posting{Account: ledger.Account(i + 1), Currency: text.Draw(t, "currency"), Side: side, AmountMinor: amount})
		}
	}
	return e
}

// What is written by hand is what encoding/json writes, and comes back as it was.
func TestCodecWritesAsEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		data, err := ledger.Codec{}.Encode(e)
		require.NoError(t, err)
		want, err := json.Marshal(e)
		require.NoError(t, err)
		require.Equal(t, string(want), string(data))
		var got ledger.Entry
		require.NoError(t, ledger.Codec{}.Decode(data, &got))
		var parsed ledger.Entry
		require.NoError(t, json.Unmarshal(data, &parsed))
		require.Equal(t, parsed, got)
	})
}

// Whatever the bytes are, they are read as encoding/json reads them, or refused.
func FuzzCodecReadsAsEncodingJSON(f *testing.F) {
	for _, s := range []string{
		`{"kind":"TRANSFER","type":"PRIJEM","booked_on":"1993-01-03","amount_minor":1,"from":-1,"to":2,"postings":[{"account":-1,"currency":"CZK","side":"DR","amount_minor":1},{"account":2,"currency":"CZK","side":"CR","amount_minor":1}]}`,
		`{"kind":"TRANSFER_IN","origin":{"partition":1,"id":2},"postings":[],"allow_overdraft":true}`,
		`{ "kind" : "TRANSFER", "postings" : [ ] }`, `{"kind":"TRANSFER","Type":"x","amount_minor":01}`, `{"kind":"TRANSFER","amount_minor":1}{`,
		`{"kind":"TRANSFER","postings":null,"origin":null,"type":"\u0041","type":"b"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want ledger.Entry
		if err := (ledger.Codec{}).Decode(data, &got); err != nil {
			return
		}
		require.NoError(t, json.Unmarshal(data, &want))
		require.Equal(t, want, got)
	})
}

func BenchmarkDecode(b *testing.B) {
	data, err := ledger.Codec{}.Encode(ledger.Entry{
		Kind: ledger.KindTransfer, Type: "PRIJEM", BookedOn: "1993-01-03", AmountMinor: 60000, From: -1, To: 1539,
		Postings: []ledger.Posting{{Account: -1, Currency: "CZK", Side: ledger.Debit, AmountMinor: 60000}, {Account: 1539, Currency: "CZK", Side: ledger.Credit, AmountMinor: 60000}},
	})
	require.NoError(b, err)
	b.ReportAllocs()
	b.Run("v=Codec", func(b *testing.B) {
		for b.Loop() {
			var e ledger.Entry
			_ = ledger.Codec{}.Decode(data, &e)
		}
	})
	b.Run("v=json", func(b *testing.B) {
		for b.Loop() {
			var e ledger.Entry
			_ = json.Unmarshal(data, &e)
		}
	})
}
