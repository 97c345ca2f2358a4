package codec

import "github.com/waltz-log/waltz/internal/bufpool"

// Pool holds the buffers of messages. Make it with NewPool.
type Pool = bufpool.Pool

// NewPool makes an empty pool.
func NewPool() *Pool { return bufpool.New() }
