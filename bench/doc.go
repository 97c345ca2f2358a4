// Command bench runs the macro benchmarks on a log of its own and prints a table:
// appends at several depths, over one and many partitions, and reading. With
// -format bench it prints Go's benchmark format instead, for benchstat:
//
//	make build
//	go run ./bench -format bench -count 5 > old.txt
//	go tool -modfile=tools/go.mod benchstat old.txt new.txt
package main
