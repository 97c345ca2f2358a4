// Package monitor keeps the appends that have no answer yet: which of them
// wait to be sent to which server, which are on a stream, and what has to be
// sent again when a stream breaks or a partition moves. It is pure: events in,
// state out; no clock, no network, no lock. Its shell, package waltz, holds one
// mutex around every call.
//
// An attempt goes through these states:
//
//	        Add                 Next                 Committed, Refused (for good)
//	(fresh) ----> Held|Waiting ------> Sent ----------------------------> Answered
//	                 ^   ^               |  |
//	                 |   |     Break     |  | Refused (for now)
//	                 |   +---------------+  v
//	                 +------------------- Parked
//	                        Release
//
// Held is the back-pressure (I9): what exceeds [Limits] waits there, outside of
// the books, and is let in when answers make room. Give-up takes an attempt out
// of Held, Waiting and Parked at once; one that is on a stream stays there
// without a listener until it is answered or the stream breaks, since its
// number is taken and the answer may still come.
//
// I4 and I8 rest on two facts kept here. An attempt carries its request ID in
// its body, which is never encoded a second time. And Unsure turns true when an
// answer is lost, and never false again: from then on it may have been
// committed, and only an answer can tell.
package monitor
