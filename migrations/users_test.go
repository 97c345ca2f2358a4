package migrations_test

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/migrations"
)

// as returns the database as another user sees it.
func (db *database) as(t *testing.T, user string) *database {
	t.Helper()
	u, err := url.Parse(db.url)
	require.NoError(t, err)
	u.User = url.UserPassword(user, "secret")
	return openDatabase(t, u.String())
}

// newUser makes a user that may do nothing yet.
func (db *database) newUser(t *testing.T, name string) {
	t.Helper()
	if db.dialect == migrations.Postgres {
		db.exec(t, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret'")
		t.Cleanup(func() {
			_, err := db.Exec("DROP OWNED BY " + name + "; DROP ROLE " + name)
			require.NoError(t, err)
		})
		return
	}
	db.exec(t, "CREATE USER "+name+"@'%' IDENTIFIED BY 'secret'")
	t.Cleanup(func() {
		_, err := db.Exec("DROP USER " + name)
		require.NoError(t, err)
	})
}

var withUsers = []migrations.Dialect{migrations.Postgres, migrations.MySQL}

// grants are the rights of an applier, as [migrations] lists them.
func (db *database) grants(t *testing.T, user string) []string {
	t.Helper()
	if db.dialect == migrations.MySQL {
		return []string{"GRANT SELECT, INSERT, UPDATE, DELETE ON " + db.column(t, "SELECT database()")[0] + ".* TO " + user}
	}
	return []string{
		"GRANT USAGE ON SCHEMA public TO " + user,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON waltz_high_water_marks, waltz_keys, waltz_dead_letters TO " + user,
		"GRANT SELECT ON waltz_schema_version TO " + user,
	}
}

// withoutDDL returns the database as a user sees it who has these rights alone.
func (db *database) withoutDDL(t *testing.T) *database {
	t.Helper()
	if db.dialect == migrations.SQLite {
		return db
	}
	user := "applier_" + strings.ToLower(rand.Text()[:8])
	db.newUser(t, user)
	db.exec(t, db.grants(t, user)...)
	return db.as(t, user)
}

// The applier's user has no right to DDL: what [migrations] says it needs is enough
// to check the schema, and to find that there is nothing to do.
func TestUserWithoutDDL(t *testing.T) {
	for _, d := range withUsers {
		t.Run(string(d), func(t *testing.T) {
			db := newDatabase(t, d)
			db.newUser(t, "applier")
			applier := db.as(t, "applier")
			if d == migrations.MySQL {
				db.exec(t, db.grants(t, "applier")...)
			}
			_, err := applier.migrator(t).Up(t.Context())
			require.ErrorContains(t, err, "denied")
			require.ErrorContains(t, err, "wait for waltz_schema_lock: create: ")
			require.ErrorContains(t, err, "; pending: 00001_high_water_marks.sql, 00002_keys.sql, 00003_dead_letters.sql")
			require.Empty(t, db.tables(t))
			db.up(t)
			if d == migrations.Postgres {
				require.ErrorContains(t, applier.migrator(t).Check(t.Context()), "permission denied for table waltz_schema_version")
				db.exec(t, db.grants(t, "applier")...)
			}
			done, err := applier.migrator(t).Up(t.Context())
			require.NoError(t, err)
			require.Empty(t, done)
			status, err := applier.migrator(t).Status(t.Context())
			require.NoError(t, err)
			require.True(t, status[0].Applied)
			require.NoError(t, applier.insertRow(t, "balances"), "it may do its work")
			_, err = applier.Exec("CREATE TABLE x (id int)")
			require.ErrorContains(t, err, "denied")
		})
	}
}

// MySQL hides what a user may not read.
func TestHiddenTable(t *testing.T) {
	db := newDatabase(t, migrations.MySQL)
	db.up(t)
	db.newUser(t, "blind")
	db.exec(t, "GRANT SELECT ON "+db.column(t, "SELECT database()")[0]+".waltz_keys TO blind")
	err := db.as(t, "blind").migrator(t).Check(t.Context())
	require.ErrorContains(t, err, "version 0 of 3")
	require.ErrorContains(t, err, "SELECT on waltz_schema_version")
}

// Rights are given by file: what could be applied is, and the rest follows.
func TestPartialUpGoesOnMySQL(t *testing.T) {
	db := newDatabase(t, migrations.MySQL)
	db.newUser(t, "half")
	name := db.column(t, "SELECT database()")[0]
	for _, table := range []string{"waltz_schema_lock", "waltz_schema_version", "waltz_high_water_marks"} {
		db.exec(t, "GRANT CREATE, SELECT, INSERT, UPDATE ON "+name+"."+table+" TO half")
	}
	half := db.as(t, "half")
	done, err := half.migrator(t).Up(t.Context())
	require.ErrorContains(t, err, "00002_keys.sql failed")
	require.ErrorContains(t, err, "CREATE command denied")
	require.Len(t, done, 1)
	db.exec(t, "GRANT ALL ON "+name+".* TO half")
	require.Len(t, db.as(t, "half").up(t), 2) // rights are read when a connection opens
}

// On PostgreSQL search_path says where the tables are.
func TestSchemas(t *testing.T) {
	db := newDatabase(t, migrations.Postgres)
	absent := db.with(t, "search_path=app")
	require.ErrorContains(t, absent.migrator(t).Check(t.Context()), "no schema to work in")
	db.exec(t, "CREATE SCHEMA app")
	app := db.with(t, "search_path=app")
	require.Len(t, app.up(t), 3)
	require.Empty(t, db.tables(t), "nothing in public")
	require.Error(t, db.migrator(t).Check(t.Context()))
	require.NoError(t, db.with(t, "search_path=app,public").migrator(t).Check(t.Context()))
	require.Len(t, db.up(t), 3, "another one beside it")
}

// A schema that comes before the one with the tables would get empty ones, and
// everything would be applied to the view once more (I7).
func TestSchemaInFront(t *testing.T) {
	db := newDatabase(t, migrations.Postgres)
	db.up(t)
	db.exec(t, "CREATE SCHEMA waltz") // the user's name: "$user" comes first
	m := db.migrator(t)
	_, err := m.Up(t.Context())
	for _, err := range []error{m.Check(t.Context()), err} {
		require.ErrorContains(t, err, "waltz_schema_version is in schema public, but new tables would be made in waltz: connect with search_path=public")
	}
	require.Empty(t, db.tables(t))
	require.NoError(t, db.with(t, "search_path=public").migrator(t).Check(t.Context()))
}

// A pooler in transaction mode gives each transaction another session: a lock
// of the session would be nobody's.
func TestPoolerInTransactionMode(t *testing.T) {
	server := servers.PostgreSQL(t)
	pooler := dbtest.PgBouncer(t, server, "transaction")
	direct := openDatabase(t, server.NewDatabase(t))
	address := pooler.URL(direct.column(t, "SELECT current_database()")[0]) + "&default_query_exec_mode=exec"
	var instances []*instance
	for range 3 {
		instances = append(instances, startInstance(t, address, 0))
	}
	for _, i := range instances {
		i.start(t)
	}
	sum := 0
	for _, i := range instances {
		n, _ := i.end(t)
		sum += n
	}
	require.Equal(t, 3, sum)
	require.Equal(t, all(direct.migrator(t)), direct.recorded(t))
}
