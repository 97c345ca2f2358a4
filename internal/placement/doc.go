// Package placement decides which storages should have a partition's replicas.
// It is pure and deterministic: the same storages and targets give the same plan,
// whoever asks. It changes nothing, and knows nothing of who answers at the moment:
// a storage leaves when the operator says so.
//
// The rules, the stronger first:
//
//  1. Every partition has as many replicas as asked for, or one on every storage
//     that takes replicas if there are fewer.
//  2. No two of them are in one group, if there are as many groups; else as few as
//     possible are.
//  3. Every storage has as many replicas as every other one, give or take one, as
//     far as the groups allow.
//  4. What need not move stays.
//
// Rule 3 is met exactly. A plan is balanced if no chain of moves leads from a
// storage to one that has two fewer (Harvey, Ladner, Lovász and Tamir 2006,
// "Semi-matchings for bipartite graphs and load balancing", say why that is the
// best there is), so [Plan] looks for such chains, the cheapest first, until there
// are none. Quotas computed beforehand would be simpler, but what groups of
// different sizes allow is not a formula.
//
// It lives apart from metadata since the controller and the command line use it
// alike, and so that its properties can be tested without either.
package placement
