package waltz_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/waltz"
)

// A lock name for each kind of thing, and a kind for each kind of transaction,
// are declared once for everybody.
const Account waltz.LockName = "account"

type Transfer struct {
	From, To uint64
	Amount   int64
}

var Posted = waltz.Kind[Transfer]{Header: 10, Name: "transfer.posted", Codec: waltz.JSON[Transfer]()}

// open gives an example a log of its own: a whole Waltz inside the process. A
// cluster's address is waltz://host:port,host:port.
func open() (c *waltz.Client, end func()) {
	dir, err := os.MkdirTemp("", "waltz")
	if err != nil {
		log.Fatal(err)
	}
	c, err = waltz.Dial(context.Background(), "file://"+dir, waltz.WithSchemes(embedded.Scheme))
	if err != nil {
		log.Fatal(err)
	}
	return c, func() {
		if err := errors.Join(c.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// post appends a transfer computed from a view that has applied mark.
func post(ctx context.Context, c *waltz.Client, t Transfer, mark waltz.ID) (waltz.ID, error) {
	tx := waltz.Transaction{
		Locks:         []waltz.Lock{Account.ID(t.From).Write(), Account.ID(t.To).Append()},
		HighWaterMark: mark,
	}
	if err := Posted.Put(&tx, t); err != nil {
		return waltz.None, err
	}
	return c.Append(ctx, 0, tx)
}

// A transaction that was computed from stale state is refused, and told which
// transaction it has to see first.
func ExampleClient_Append() {
	c, end := open()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	id, err := post(ctx, c, Transfer{From: 1, To: 2, Amount: 30}, waltz.None)
	fmt.Println(id, err)

	// Another withdrawal from account 1, by someone who has not seen the first.
	_, err = post(ctx, c, Transfer{From: 1, To: 3, Amount: 90}, waltz.None)
	var conflict *waltz.LockConflictError
	if errors.As(err, &conflict) {
		fmt.Println("look again when the view has transaction", conflict.TransactionID)
	}

	// Deposits to account 2 run together: append locks don't conflict.
	id, err = post(ctx, c, Transfer{From: 4, To: 2, Amount: 5}, waltz.None)
	fmt.Println(id, err)
	// Output:
	// 0 <nil>
	// look again when the view has transaction 0
	// 1 <nil>
}

// A view follows the log in batches that form by themselves, and resumes from
// the high-water mark that it keeps with its data.
func ExampleClient_Subscribe() {
	c, end := open()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for i := range int64(3) {
		if _, err := post(ctx, c, Transfer{From: uint64(i), To: 9, Amount: 10 + i}, waltz.None); err != nil {
			log.Fatal(err)
		}
	}

	balance, mark := int64(0), waltz.None // a view: both belong into one SQL transaction
	feed, err := c.Subscribe(ctx, waltz.SubscribeOptions{Partition: 0, HighWaterMark: mark, Headers: []waltz.Header{Posted.Header}})
	if err != nil {
		log.Fatal(err)
	}
	defer feed.Close()
	for mark < 2 {
		batch, err := feed.Next(ctx, 1000)
		if err != nil {
			log.Fatal(err)
		}
		for _, tx := range batch.Transactions {
			r, err := Posted.Decode(tx)
			if err != nil {
				log.Fatal(err)
			}
			balance += r.Value.Amount
		}
		mark = batch.HighWaterMark
	}
	fmt.Println("balance", balance, "as of transaction", mark)
	// Output: balance 33 as of transaction 2
}

func ExampleClient_Read() {
	c, end := open()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for i := range 5 {
		tx := waltz.Transaction{Header: 1, Data: fmt.Appendf(nil, "entry %d", i), HighWaterMark: waltz.None}
		if _, err := c.Append(ctx, 0, tx); err != nil {
			log.Fatal(err)
		}
	}
	for tx, err := range c.Read(ctx, 0, 2, 3) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(tx.ID, string(tx.Data))
	}
	// Output:
	// 2 entry 2
	// 3 entry 3
}

// When a deadline ends before the answer came, the append may or may not be in
// the log. Resolve goes on until that is known.
func ExampleClient_Resolve() {
	var c *waltz.Client // from Dial
	hurried, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	id, err := c.Append(hurried, 0, waltz.Transaction{HighWaterMark: waltz.None})
	var unknown *waltz.UnknownError
	if errors.As(err, &unknown) {
		patient, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		id, err = c.Resolve(patient, unknown)
	}
	fmt.Println(id, err)
}

// Metrics and alarms hang on hooks; the client depends on no metrics library.
func ExampleWithHooks() {
	var appends, failures int // a registry's counters; hooks run concurrently
	hooks := waltz.Hooks{
		Appended: func(_ waltz.Partition, _ time.Duration, err error) {
			appends++
			if err != nil {
				failures++
			}
		},
		Refused: func(p waltz.Partition, err error) {
			if errors.Is(err, waltz.ErrStorageFull) {
				fmt.Println("page somebody: partition", p, "has no space")
			}
		},
	}
	c, err := waltz.Dial(context.Background(), "waltz://log-1:7000,log-2:7000", waltz.WithHooks(hooks))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}
