package ledger_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

type field struct {
	Type string
	Null bool
	Of   map[string]field
}

// The schema is what consumers outside Go have: it must name just the fields, the
// kinds and the headers that entries have.
func TestSchemaDescribesEntries(t *testing.T) {
	text, err := os.ReadFile("../schema/transfer.record.yaml")
	require.NoError(t, err)
	text, err = yaml.YAMLToJSON(text)
	require.NoError(t, err)
	var schema struct {
		Headers map[int][]ledger.Kind
		Fields  map[string]field
	}
	require.NoError(t, json.Unmarshal(text, &schema))

	for header, kinds := range schema.Headers {
		for _, k := range kinds {
			require.EqualValues(t, header, k.Of().Header, k)
		}
	}
	full := ledger.Entry{
		Kind: ledger.KindIn, Type: "t", BookedOn: "2026-01-02", AmountMinor: 1, From: 1, To: 2, AllowOverdraft: true,
		Account: 1, Currency: "CZK", Origin: &ledger.Origin{Partition: 1, ID: 1}, Reason: "r",
		Postings: []ledger.Posting{{Account: 1, Currency: "CZK", Side: ledger.Debit, AmountMinor: 1}, {Account: 2, Currency: "CZK", Side: ledger.Credit, AmountMinor: 1}},
	}
	described(t, schema.Fields, encoded(t, full), true)
	described(t, schema.Fields, encoded(t, ledger.Entry{Kind: ledger.KindTransfer, Postings: []ledger.Posting{}}), false)
}

func encoded(t *testing.T, e ledger.Entry) (m map[string]any) {
	data, err := ledger.Codec{}.Encode(e)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &m))
	return m
}

// described compares field names; a field may be left out only if it is null.
func described(t *testing.T, fields map[string]field, object map[string]any, full bool) {
	for name, value := range object {
		require.Contains(t, fields, name)
		if list, is := value.([]any); is && len(list) > 0 {
			value = list[0]
		}
		if inner, is := value.(map[string]any); is {
			described(t, fields[name].Of, inner, full)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if full || !fields[name].Null {
			require.Contains(t, object, name)
		}
	}
}
