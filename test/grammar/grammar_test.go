// Package grammar_test holds the statements of the shop to the grammar of MySQL 8, which the machines that tests run on do
// not have: their server is MariaDB, which takes some that MySQL does not. The grammar is that of TiDB's parser.
package grammar_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // literals
)

// TestStatementsAreOfMySQL has tests of the whole shop run on MariaDB, which writes down every statement it is asked, migrations
// included, and parses them all. Every operation of every component is among them, a shop that is filled, an audit, and the script of the
// chart that makes schemas and accounts.
func TestStatementsAreOfMySQL(t *testing.T) {
	t.Parallel()
	dsn := os.Getenv("TIENDA_TEST_MYSQL_DSN")
	if dsn == "" {
		t.Fatal("TIENDA_TEST_MYSQL_DSN names no server: run it with test/mariadb.sh")
	}
	db := open(t, dsn)
	exec1(t, db, "SET GLOBAL log_output = 'TABLE'")
	exec1(t, db, "TRUNCATE TABLE mysql.general_log")
	exec1(t, db, "SET GLOBAL general_log = ON")
	defer exec1(t, db, "SET GLOBAL general_log = OFF") // also of a test that ends early
	command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./cmd/tienda", "./audit", "-run", "^(TestAuthorization|TestStory|TestFilledShopIsOpen|TestPlantedViolations)$")
	command.Dir = "../.."
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("the tests that use the shop: %v\n%s", err, out)
	}
	command = exec.CommandContext(t.Context(), "go", "test", "-count=1", "./helm", "-run", "^TestAccounts$")
	command.Dir = "../../deploy"
	if out, err = command.CombinedOutput(); err != nil {
		t.Fatalf("the script of the accounts: %v\n%s", err, out)
	}
	exec1(t, db, "SET GLOBAL general_log = OFF")
	p := parser.New()
	tables := map[string]bool{}
	statements := logged(t, db)
	for _, statement := range statements {
		parsed, _, err := p.ParseSQL(statement)
		if err != nil {
			t.Errorf("MySQL would not understand: %v\n%.600s", err, statement)
		}
		for _, node := range parsed {
			if table, ok := node.(*ast.CreateTableStmt); ok && !strings.HasPrefix(table.Table.Schema.L, "acct") { // where a test looks who may write
				tables[table.Table.Name.L] = false
				checkNames(t, p, table)
			}
		}
	}
	for table := range tables {
		used := regexp.MustCompile("(?i)(FROM|INTO|UPDATE|JOIN) `?" + table + "\\b")
		for _, statement := range statements {
			tables[table] = tables[table] || used.MatchString(statement)
		}
		if !tables[table] {
			t.Errorf("no statement uses the table %s: the tests that are run do not say all that the shop says", table)
		}
	}
	for _, of := range []string{"CREATE USER IF NOT EXISTS 'acct_order'", "ALTER USER 'acct_order'", "GRANT RELOAD, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO 'acct_backup'"} {
		if !slices.ContainsFunc(statements, func(s string) bool { return strings.HasPrefix(s, of) }) {
			t.Errorf("the script of the accounts did not say %s", of)
		}
	}
	t.Logf("%d different statements on %d tables", len(statements), len(tables))
	if len(tables) < 30 {
		t.Errorf("only %d tables were made: was everything written down?", len(tables))
	}
}

// reserved are the words that MySQL 8.4 keeps for itself and MySQL 5.7 did not, or MariaDB does not.
const reserved = `cube cume_dist dense_rank empty except first_value function generated grouping groups intersect json_table lag last_value
	lateral lead manual nth_value ntile of optimizer_costs over parallel percent_rank qualify rank recursive row rows row_number stored system
	tablesample virtual window`

// checkNames looks for a table or a column that has one of MySQL's words for its name. Those that the parser keeps as well it finds
// itself wherever they are used without quotes.
func checkNames(t *testing.T, p *parser.Parser, table *ast.CreateTableStmt) {
	t.Helper()
	names := []string{table.Table.Name.L}
	for _, column := range table.Cols {
		names = append(names, column.Name.Name.L)
	}
	for _, name := range names {
		if _, _, err := p.ParseSQL("SELECT " + name + " FROM t"); err == nil && slices.Contains(strings.Fields(reserved), name) {
			t.Errorf("the table %s has the name %q, which is a word of MySQL 8.4", table.Table.Name.O, name)
		}
	}
}

// TestGrammarRefuses: the parser would notice what is MariaDB's own.
func TestGrammarRefuses(t *testing.T) {
	t.Parallel()
	p := parser.New()
	for _, statement := range []string{
		"CREATE OR REPLACE TABLE t (id INT)", "DELETE FROM t WHERE id = 1 RETURNING id, name", "UPDATE t SET stored = 1", "INSERT INTO t (id) VALUES (1) RETURNING id",
	} {
		if _, _, err := p.ParseSQL(statement); err == nil {
			t.Errorf("%q is taken for MySQL's", statement)
		}
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

// exec1 runs a statement that must work, also when the test is being ended.
func exec1(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// logged are the different statements of the log, those of this test left out.
func logged(t *testing.T, db *sql.DB) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT DISTINCT argument FROM mysql.general_log WHERE command_type IN ('Query', 'Prepare')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var statements []string
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(statement, "general_log") {
			statements = append(statements, statement)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return statements
}
