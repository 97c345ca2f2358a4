// Package adminrpc is [admin.Operator] over gRPC, both ends side by side: [Register]
// serves one, and [Client] is one. A server that runs serves its own; the command
// line is the client, and prints the same either way.
package adminrpc
