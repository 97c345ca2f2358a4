package applier

import "errors"

// ErrImplicitCommit is what [Database.Apply] returns when something in a handler's
// statements has ended the SQL transaction behind the framework's back, as DDL does on
// MariaDB. The mark stands at Step.New, and a part of the effects is missing or is
// there twice. Nothing can be done about it by trying again: the view stops.
var ErrImplicitCommit = errors.New("a statement of a handler has ended the SQL transaction: the mark may be in the database without all of the data; look for DDL in a procedure, function or trigger that handlers reach, and start a new version of the view")
