// Command waltz is the one binary of Waltz: every process and every tool is a
// sub-command, in a file of its own.
//
// Exit codes: 0 good, 1 failed, 2 wrong usage. Results go to stdout, as a table
// or as exactly one JSON object; logs and progress go to stderr.
package main
