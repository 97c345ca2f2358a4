// Package audit checks a ledger from its log alone, and a view against that. It
// believes neither the ledger's decisions nor its tables: it replays each account in
// the order of the log and works out what must hold.
package audit
