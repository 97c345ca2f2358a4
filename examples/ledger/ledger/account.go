package ledger

import (
	"fmt"
	"strconv"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Account is the number of an account. Customers' are positive; the house's own
// are negative, two for each partition.
type Account int64

// Bank returns the bank's own account in a partition: the other side of cash.
func Bank(p waltz.Partition) Account { return -Account(2*p) - 1 }

// Transit returns a partition's transit account: what has left it for other
// partitions, less what has come from them.
func Transit(p waltz.Partition) Account { return -Account(2*p) - 2 }

// IsCustomer tells a customer's account from the house's.
func (a Account) IsCustomer() bool { return a > 0 }

// IsTransit tells a transit account from the bank's own.
func (a Account) IsTransit() bool { return a < 0 && a%2 == 0 }

func (a Account) String() string { return strconv.FormatInt(int64(a), 10) }

// key is what places an account in a partition.
func (a Account) key() string { return "account:" + a.String() }

// PartitionOf returns where an account lives, given the log's way to place keys.
func PartitionOf(a Account, partitionFor func(key string) waltz.Partition) waltz.Partition {
	if a.IsCustomer() {
		return partitionFor(a.key())
	}
	return waltz.Partition((-a - 1) / 2)
}

// Date is a booking date as ISO 8601 writes it, 2006-01-02; dates sort as text.
type Date string

// ParseDate reads an ISO date.
func ParseDate(s string) (Date, error) {
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return "", fmt.Errorf("date %q: want it as 2006-01-02", s)
	}
	return Date(s), nil
}

// DateOf returns the date of t in UTC.
func DateOf(t time.Time) Date { return Date(t.UTC().Format(time.DateOnly)) }

// Amount writes minor units for people: 1234 as 12.34.
func Amount(minor int64) string {
	sign := ""
	if minor < 0 {
		sign, minor = "-", -minor
	}
	return fmt.Sprintf("%s%d.%02d", sign, minor/100, minor%100)
}
