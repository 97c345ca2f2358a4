// Package appliertest proves that an applier keeps its promises on a database.
// [Run] is the suite that every database passes; its test names say what is
// promised, and which acceptance check of docs/ they answer.
//
// It feeds appliers from [Log], a log in memory that can also do what a log must
// never do, and wraps the database where the trouble has to come from there.
package appliertest
