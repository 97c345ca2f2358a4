// Package wire is the border between the domain and the client contract
// (proto/clientpb): how transactions, answers and frames are encoded on the
// hot paths, and how errors become gRPC statuses and come back.
//
// The hot messages are encoded by hand, in the wire format of the contract, so
// that any protobuf client or server understands them. A profile of a server
// with the generated code shows why: it allocates five times per transaction
// and copies its data twice. [Codec] makes gRPC use the hand-written forms
// where the message is one of this package's, and protobuf for all others.
package wire
