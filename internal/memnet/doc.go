// Package memnet is a network inside one process: a [Listener] whose
// connections are pairs of bounded buffers. It carries gRPC between a client and
// a server that live together, without sockets, ports or system calls.
//
// A connection behaves as TCP's does where gRPC can tell: writes wait while the
// buffer is full, deadlines work and can be moved, after one side has closed the
// other reads what is left and then io.EOF, and writes fail.
package memnet
