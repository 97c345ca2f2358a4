package mysql_test

import (
	"context"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/waltz"
)

type posting struct {
	Account, Amount int64
	Memo            string
}

var (
	postings = mysql.Insert{Table: "postings", Columns: []string{"partition_no", "id", "account", "amount", "memo"}}
	balances = mysql.Upsert{Table: "balances", Key: []string{"account"}, Add: []string{"balance", "postings"}}
)

// A handler of whole batches: two statements, however many records there are.
func Example_batch() {
	posted := waltz.Kind[posting]{Header: 1, Name: "posted", Codec: waltz.JSON[posting]()}
	handler := applier.OnBatch(posted, func(ctx context.Context, tx *mysql.Tx, records []waltz.Record[posting]) error {
		lines, sums := postings.For(tx), balances.For(tx)
		for _, r := range records {
			lines.Add(r.Partition, r.ID, r.Value.Account, r.Value.Amount, r.Value.Memo)
			sums.Add(r.Value.Account, r.Value.Amount, 1)
		}
		if err := lines.Exec(ctx); err != nil {
			return err
		}
		return sums.Exec(ctx)
	})
	_ = handler // goes to mysql.Open
}
