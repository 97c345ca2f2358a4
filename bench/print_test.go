package main

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func printed(t *testing.T, bench bool) string {
	t.Helper()
	var out bytes.Buffer
	p := &printer{out: &out, bench: bench}
	p.append(64, 1, appendFigures{Transactions: 100, TxPerSec: 1000, P50: 0.25, P99: 0.5, FdatasyncP50: 0.125, FdatasyncsPerSec: 900, CPU: 7.5})
	p.read(1, readFigures{Records: 100, RecordsPerSec: 2000, MBPerSec: 1, CPU: 0.5})
	require.NoError(t, p.flush())
	return out.String()
}

func TestBenchFormat(t *testing.T) {
	require.Equal(t, "BenchmarkAppend/inflight=64/partitions=1 100 1000000 ns/op 1000 tx/s 250000 p50-ns 500000 p99-ns 900 fdatasync/s 7.500 cpu-us/tx\n"+
		"BenchmarkRead/partitions=1 100 500000.0 ns/op 2000 records/s 1.0 MB/s 0.500 cpu-us/record\n", printed(t, true))
}

func TestTable(t *testing.T) {
	out := printed(t, false)
	require.Contains(t, out, "p50 / fdatasync")
	require.Contains(t, out, "2.00") // 0.25 ms at 0.125 ms a flush
	require.Contains(t, out, "records/s")
}

func TestFlagMistakes(t *testing.T) {
	for _, args := range [][]string{{"-format", "xml"}, {"-count", "0"}, {"-duration", "0s"}, {"-nope"}} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, args)
	}
}
