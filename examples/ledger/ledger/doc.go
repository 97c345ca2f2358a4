// Package ledger is a double-entry ledger on a Waltz log: accounts, transfers,
// balances. It is the domain of the example, and knows neither the database that
// the view is kept in nor the command line.
//
// # Where things live
//
// An account lives in the partition that its number hashes to, and with it all
// that decides on it: its balance and its standing (open, closed) are guarded by
// locks of that partition. Each partition also has two accounts of the house: the
// bank's own, which is the other side of cash, and a transit account.
//
// # Transfers
//
// Within a partition a transfer is one transaction: debit and credit at once.
// Across two it cannot be, since locks and order end at the partition. It is then
// two transactions, joined by the transit accounts and by the log itself:
//
//	partition of the sender            partition of the receiver
//	──────────────────────             ─────────────────────────
//	TRANSFER_OUT  sender ─► transit     │
//	     │ applied: shows as pending    │
//	     └── relay ───────────────────► TRANSFER_IN  transit ─► receiver
//	                                    │     or, if there is no such account,
//	     ┌── relay ◄─────────────────── TRANSFER_REFUSED (no postings)
//	     ▼
//	TRANSFER_RETURNED  transit ─► sender
//
// The second and third are keyed by the partition and ID of the first, so that any
// number of relays, before and after any crash, make each step once. That the
// receiver's partition records the refusal under the same key as the credit is what
// keeps one relay from returning money that another is just crediting.
//
// A debit that relies on the balance takes the lock of the account's debits for write,
// so that none may pass another; debits that may overdraw take it for append. Credits
// take one of their own for append, and run together and with debits: more money never
// makes a balance suffice less. The allowance to overdraw stands in the transaction, so that an
// audit of the log needs nothing else.
package ledger
