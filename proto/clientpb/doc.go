// Package clientpb is the contract between clients and servers, generated from
// client.proto. On the hot paths its messages are encoded by hand (package
// internal/wire), byte for byte as these types would be; so numbers and kinds of
// fields are changed in both places.
package clientpb
