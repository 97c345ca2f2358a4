package mysql

import "github.com/waltz-log/waltz/applier"

// number is what is known about an error number.
type number struct {
	name  string
	class applier.Class
	text  text
}

// text says whether a message may stand in logs.
type text int

const (
	plain  text = iota // names tables, columns and constraints at most
	values             // holds values of rows
	key                // holds values up to the last " for key "
	column             // holds values up to the last " for column "
)

// numbers are the errors that mean the same to MariaDB and MySQL, by number: an
// SQLSTATE says too little (1205 comes as HY000). Those of one server only stand in
// dialect.go.
//
// Sources: https://mariadb.com/kb/en/mariadb-error-code-reference/ and
// https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html for
// numbers, names and messages;
// https://dev.mysql.com/doc/refman/8.0/en/innodb-error-handling.html and
// https://mariadb.com/kb/en/innodb-system-variables/#innodb_rollback_on_timeout for
// what is rolled back by 1205, 1206 and 1213;
// https://galeracluster.com/library/documentation/ for 1047 and for 1213 at
// COMMIT.
var numbers = map[uint16]number{
	// Over at once. A deadlock took back the whole SQL transaction, a timeout one
	// statement of it: both are followed by a ROLLBACK of our own.
	1020: {"ER_CHECKREAD", applier.ClassRetry, plain}, // MariaDB's innodb_snapshot_isolation: the row has changed since the snapshot
	1205: {"ER_LOCK_WAIT_TIMEOUT", applier.ClassRetry, plain},
	1206: {"ER_LOCK_TABLE_FULL", applier.ClassRetry, plain},
	1213: {"ER_LOCK_DEADLOCK", applier.ClassRetry, plain},
	1614: {"ER_XA_RBDEADLOCK", applier.ClassRetry, plain},

	// They pass.
	1037: {"ER_OUTOFMEMORY", applier.ClassBackOff, plain},
	1038: {"ER_OUT_OF_SORTMEMORY", applier.ClassBackOff, plain},
	1040: {"ER_CON_COUNT_ERROR", applier.ClassBackOff, plain},
	1041: {"ER_OUT_OF_RESOURCES", applier.ClassBackOff, plain},
	1047: {"ER_UNKNOWN_COM_ERROR", applier.ClassBackOff, plain}, // Galera: the node is not ready
	1053: {"ER_SERVER_SHUTDOWN", applier.ClassBackOff, plain},
	1077: {"ER_NORMAL_SHUTDOWN", applier.ClassBackOff, plain},
	1079: {"ER_SHUTDOWN_COMPLETE", applier.ClassBackOff, plain},
	1129: {"ER_HOST_IS_BLOCKED", applier.ClassPage, plain}, // until somebody flushes the hosts
	1158: {"ER_NET_READ_ERROR", applier.ClassBackOff, plain},
	1159: {"ER_NET_READ_INTERRUPTED", applier.ClassBackOff, plain},
	1160: {"ER_NET_ERROR_ON_WRITE", applier.ClassBackOff, plain},
	1161: {"ER_NET_WRITE_INTERRUPTED", applier.ClassBackOff, plain},
	1203: {"ER_TOO_MANY_USER_CONNECTIONS", applier.ClassBackOff, plain},
	1226: {"ER_USER_LIMIT_REACHED", applier.ClassBackOff, plain},
	1290: {"ER_OPTION_PREVENTS_STATEMENT", applier.ClassBackOff, plain}, // read_only: a fail-over is under way
	1317: {"ER_QUERY_INTERRUPTED", applier.ClassBackOff, plain},
	1836: {"ER_READ_ONLY_MODE", applier.ClassBackOff, plain},

	// Somebody has to make room or repair something.
	3:    {"EE_WRITE", applier.ClassPage, plain},
	5:    {"EE_OUTOFMEMORY", applier.ClassPage, plain},
	20:   {"EE_DISK_FULL", applier.ClassPage, plain},
	1021: {"ER_DISK_FULL", applier.ClassPage, plain},
	1026: {"ER_ERROR_ON_WRITE", applier.ClassPage, plain},
	1114: {"ER_RECORD_FILE_FULL", applier.ClassPage, plain},
	1030: {"ER_GET_ERRNO", applier.ClassPage, plain}, // the engine's: 28 is a full disk
	1034: {"ER_NOT_KEYFILE", applier.ClassPage, plain},
	1712: {"ER_INDEX_CORRUPT", applier.ClassPage, plain},
	1815: {"ER_INTERNAL_ERROR", applier.ClassPage, plain},

	// The engine could not commit, and does not say what became of it.
	1180: {"ER_ERROR_DURING_COMMIT", applier.ClassUnknown, plain},
	1181: {"ER_ERROR_DURING_ROLLBACK", applier.ClassBackOff, plain},

	// Due to what is written.
	1048: {"ER_BAD_NULL_ERROR", applier.ClassData, plain},
	1062: {"ER_DUP_ENTRY", applier.ClassData, key},
	1118: {"ER_TOO_BIG_ROWSIZE", applier.ClassData, plain},
	1153: {"ER_NET_PACKET_TOO_LARGE", applier.ClassData, plain}, // a smaller batch may fit
	1169: {"ER_DUP_UNIQUE", applier.ClassData, plain},
	1216: {"ER_NO_REFERENCED_ROW", applier.ClassData, plain},
	1217: {"ER_ROW_IS_REFERENCED", applier.ClassData, plain},
	1242: {"ER_SUBQUERY_NO_1_ROW", applier.ClassData, plain},
	1264: {"ER_WARN_DATA_OUT_OF_RANGE", applier.ClassData, plain},
	1265: {"WARN_DATA_TRUNCATED", applier.ClassData, plain},
	1292: {"ER_TRUNCATED_WRONG_VALUE", applier.ClassData, column},
	1300: {"ER_INVALID_CHARACTER_STRING", applier.ClassData, values},
	1364: {"ER_NO_DEFAULT_FOR_FIELD", applier.ClassData, plain},
	1365: {"ER_DIVISION_BY_ZERO", applier.ClassData, plain},
	1366: {"ER_TRUNCATED_WRONG_VALUE_FOR_FIELD", applier.ClassData, column},
	1367: {"ER_ILLEGAL_VALUE_FOR_TYPE", applier.ClassData, values},
	1390: {"ER_PS_MANY_PARAM", applier.ClassData, plain}, // a smaller batch may fit
	1406: {"ER_DATA_TOO_LONG", applier.ClassData, plain},
	1411: {"ER_WRONG_VALUE_FOR_TYPE", applier.ClassData, values},
	1416: {"ER_CANT_CREATE_GEOMETRY_OBJECT", applier.ClassData, plain},
	1451: {"ER_ROW_IS_REFERENCED_2", applier.ClassData, plain},
	1452: {"ER_NO_REFERENCED_ROW_2", applier.ClassData, plain},
	1525: {"ER_WRONG_VALUE", applier.ClassData, values},
	1526: {"ER_NO_PARTITION_FOR_GIVEN_VALUE", applier.ClassData, values},
	1557: {"ER_FOREIGN_DUPLICATE_KEY_OLD_UNUSED", applier.ClassData, values},
	1586: {"ER_DUP_ENTRY_WITH_KEY_NAME", applier.ClassData, key},
	1644: {"ER_SIGNAL_EXCEPTION", applier.ClassData, values}, // of a trigger
	1690: {"ER_DATA_OUT_OF_RANGE", applier.ClassData, values},
	1748: {"ER_ROW_DOES_NOT_MATCH_GIVEN_PARTITION_SET", applier.ClassData, values},
	1761: {"ER_FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO", applier.ClassData, values},
	1762: {"ER_FOREIGN_DUPLICATE_KEY_WITHOUT_CHILD_INFO", applier.ClassData, values},
	3140: {"ER_INVALID_JSON_TEXT", applier.ClassData, plain},
	3141: {"ER_INVALID_JSON_TEXT_IN_PARAM", applier.ClassData, plain},

	// Somebody has to change the schema, the rights or the program.
	1044: {"ER_DBACCESS_DENIED_ERROR", applier.ClassConfiguration, plain},
	1045: {"ER_ACCESS_DENIED_ERROR", applier.ClassConfiguration, plain},
	1046: {"ER_NO_DB_ERROR", applier.ClassConfiguration, plain},
	1049: {"ER_BAD_DB_ERROR", applier.ClassConfiguration, plain},
	1052: {"ER_NON_UNIQ_ERROR", applier.ClassConfiguration, plain},
	1054: {"ER_BAD_FIELD_ERROR", applier.ClassConfiguration, plain},
	1064: {"ER_PARSE_ERROR", applier.ClassConfiguration, values},
	1065: {"ER_EMPTY_QUERY", applier.ClassConfiguration, plain},
	1066: {"ER_NONUNIQ_TABLE", applier.ClassConfiguration, plain},
	1093: {"ER_UPDATE_TABLE_USED", applier.ClassConfiguration, plain},
	1103: {"ER_WRONG_TABLE_NAME", applier.ClassConfiguration, plain},
	1109: {"ER_UNKNOWN_TABLE", applier.ClassConfiguration, plain},
	1110: {"ER_FIELD_SPECIFIED_TWICE", applier.ClassConfiguration, plain},
	1130: {"ER_HOST_NOT_PRIVILEGED", applier.ClassConfiguration, plain},
	1136: {"ER_WRONG_VALUE_COUNT_ON_ROW", applier.ClassConfiguration, plain},
	1142: {"ER_TABLEACCESS_DENIED_ERROR", applier.ClassConfiguration, plain},
	1143: {"ER_COLUMNACCESS_DENIED_ERROR", applier.ClassConfiguration, plain},
	1146: {"ER_NO_SUCH_TABLE", applier.ClassConfiguration, plain},
	1193: {"ER_UNKNOWN_SYSTEM_VARIABLE", applier.ClassConfiguration, plain},
	1210: {"ER_WRONG_ARGUMENTS", applier.ClassConfiguration, plain},
	1222: {"ER_WRONG_NUMBER_OF_COLUMNS_IN_SELECT", applier.ClassConfiguration, plain},
	1227: {"ER_SPECIFIC_ACCESS_DENIED_ERROR", applier.ClassConfiguration, plain},
	1235: {"ER_NOT_SUPPORTED_YET", applier.ClassConfiguration, plain},
	1241: {"ER_OPERAND_COLUMNS", applier.ClassConfiguration, plain},
	1247: {"ER_ILLEGAL_REFERENCE", applier.ClassConfiguration, plain},
	1267: {"ER_CANT_AGGREGATE_2COLLATIONS", applier.ClassConfiguration, plain},
	1305: {"ER_SP_DOES_NOT_EXIST", applier.ClassConfiguration, plain}, // of a function; of our savepoint it is ErrImplicitCommit
	1356: {"ER_VIEW_INVALID", applier.ClassConfiguration, plain},
	1370: {"ER_PROCACCESS_DENIED_ERROR", applier.ClassConfiguration, plain},
	1442: {"ER_CANT_UPDATE_USED_TABLE_IN_SF_OR_TRG", applier.ClassConfiguration, plain},
	1792: {"ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", applier.ClassConfiguration, plain}, // of a snapshot; where we write, the driver gives the connection up
	1820: {"ER_MUST_CHANGE_PASSWORD", applier.ClassConfiguration, plain},

	// They can't be.
	1295: {"ER_UNSUPPORTED_PS", applier.ClassBug, plain},
	1399: {"ER_XAER_RMFAIL", applier.ClassBug, plain},
	1400: {"ER_XAER_OUTSIDE", applier.ClassBug, plain},
}
