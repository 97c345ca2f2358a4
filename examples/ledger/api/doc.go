// Package api serves a ledger as JSON over HTTP.
//
// It knows neither the log nor the database: a [Ledger] does what is asked. What it
// adds is the contract of openapi.yaml, which is served beside the routes and
// which the tests hold against them.
//
// # Once, and the same answer
//
// The Idempotency-Key of a transfer is its business key in the log, so that it is
// done once whichever instance is asked how often, for ever. Nothing is kept of
// answers: each is made from the transaction as it stands in the log, so a request
// that is sent again gets the answer of the first time, by any instance. That is why
// the answer to a transfer tells how it began (completed or pending), and another
// route how far it is.
//
// A key in the log guards one partition, the sender's. So that a key is not used for
// another sender elsewhere, it is looked up in the view for all partitions, in the
// snapshot that the transfer is decided on. Of two requests with one key for senders
// in different partitions, both may be done if the view does not show the first
// when the second is decided.
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
