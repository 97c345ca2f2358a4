package placement

import "slices"

// Step returns the next set on the way from one set of replicas to another: the
// goal itself, if a majority of from is in it, else as far towards it as keeps one.
// So whatever a step loses that was believed safe, a majority of the old replicas
// still has the log. From one or two replicas nothing can go; there a step adds,
// and the next one removes. Only the last one of two goes without.
func Step(from, goal []string) []string {
	add, remove := minus(goal, from), minus(from, goal)
	may := len(from) - (len(from)/2 + 1)
	if len(from) == 0 || len(remove) <= may || may == 0 && len(add) == 0 {
		return slices.Clone(goal)
	}
	next := minus(from, remove[:may])
	return append(next, add[:min(len(add), max(may, 1))]...)
}
