// Package api serves a ledger as JSON over HTTP.
//
// It knows neither the log nor the database: a [Ledger] does what is asked. What it
// adds is the contract of openapi.yaml, which is served beside the routes and
// which the tests hold against them.
//
// # Once, and the same answer
//
// The Idempotency-Key of a transfer is, with the account that it is from, its business
// key in the log, so that it is done once whichever instance is asked how often, for
// ever. Nothing is kept of
// answers: each is made from the transaction as it stands in the log, so a request
// that is sent again gets the answer of the first time, by any instance. That is why
// the answer to a transfer tells how it began (completed or pending), and another
// route how far it is.
//
// A key belongs to the sender because that is what the log can promise: it takes a key
// once in a partition, and all of a sender's transfers are in one. Keys of different
// senders have nothing to do with each other, as with callers that each make their
// own.
//
// # When it is answered
//
// A transfer is answered when it is in the log, and so done for ever. The view shows
// it a moment later: a read that has to see it names it with at_least.
//
// # Limits
//
// Requests under way, their bodies and their time are bounded (I9). What does not
// find a place is refused at once with 503 and Retry-After, as is what the log or
// the database could not do in time.
package api
