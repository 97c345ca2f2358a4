package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-partitions", "4", "-kill"}, t.Output())
	require.NoError(t, err)
	require.Equal(t, 4, o.partitions)
	require.True(t, o.kill)
	_, err = parse([]string{"-storages", "0"}, t.Output())
	require.ErrorContains(t, err, "from 1")
}

func TestRowSaysWhetherTheBoundIsKept(t *testing.T) {
	c := &cluster{storages: []*process{{name: "s1"}}}
	f := figures{TxPerSec: 50_000, P50: 0.6, FdatasyncP50: 0.1, CPU: map[string]float64{"client": 2, "server": 3, "s1": 1}}
	l := load{inflight: 64, locks: 1, perSecond: 50_000}
	require.Equal(t, "64\t1\t50000\t>= 50000\t0.600\t0.000\t0.100\t6.00\t-\t0\t2.00\t3.00\t1.00\t6.00\tyes\t", l.row(c, &f))
	l.perSecond++
	require.Contains(t, l.row(c, &f), "\tNO\t")
	one := load{inflight: 1, flushes: 5}
	require.Contains(t, one.row(c, &f), "\tNO\t")
	one.flushes = 7
	require.Contains(t, one.row(c, &f), "\tyes\t")
}
