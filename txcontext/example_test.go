package txcontext_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// A withdrawal reads the balance and declines when it does not suffice. In an
// application the log is a *waltz.Client and the view comes from package applier.
func ExampleRunner_Run() {
	world := newWorld()
	runner, err := txcontext.NewRunner(world, world, txcontext.Options{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = runner.Close() }()

	withdraw := txcontext.Context[snapshot]{
		Key: "withdrawal:4711",
		Execute: func(_ context.Context, v snapshot, b *txcontext.Builder) error {
			if v.balance(1) < 50 {
				return txcontext.Decline(errOverdraft)
			}
			b.Write(account.ID(1))
			return put(b, move{1: -50})
		},
	}
	_, err = runner.Run(context.Background(), withdraw)
	fmt.Println(errors.Is(err, errOverdraft))

	res, err := runner.Run(context.Background(), deposit(1, 100), txcontext.WaitApplied())
	fmt.Println(res.ID, err)

	res, err = runner.Run(context.Background(), withdraw, txcontext.Fresh())
	fmt.Println(res.ID, res.AlreadyDone, err)

	res, err = runner.Run(context.Background(), withdraw) // a client that asks again
	fmt.Println(res.ID, res.AlreadyDone, err)
	// Output:
	// true
	// 0 <nil>
	// 1 false <nil>
	// 1 true <nil>
}

var _ txcontext.Log = (*waltz.Client)(nil)
