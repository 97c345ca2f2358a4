// Package storagepb is the contract between servers and storages, and between
// operators and storages, generated from storage.proto. Append, Copy and Read are
// encoded by hand (package internal/wire), byte for byte as these types would be;
// so numbers and kinds of their fields are changed in both places.
package storagepb
