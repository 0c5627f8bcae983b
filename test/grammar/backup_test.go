package grammar_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pingcap/tidb/pkg/parser"
)

// TestBackupsAreOfMySQL is the same for backups and restores, which have servers of their own: each writes down what it is asked. What
// the database's tools send of their own, a dump and the events of the binary log, is their dialect and left out: with MySQL the tools
// are MySQL's.
func TestBackupsAreOfMySQL(t *testing.T) {
	t.Parallel()
	server, err := exec.LookPath("mariadbd")
	if err != nil {
		t.Fatalf("%v; test/mariadb.sh installs MariaDB", err)
	}
	bin, logs := t.TempDir(), t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" --general-log --general-log-file=%s/$$.log\n", server, logs)
	if err := os.WriteFile(filepath.Join(bin, "mariadbd"), []byte(script), 0o755); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./backup", "-run", "^(TestBackupAndRestore|TestOwner)$")
	command.Dir = "../.."
	command.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("the tests of backups: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(logs, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range written(string(text)) {
			said[statement] = true
		}
	}
	p := parser.New()
	for statement := range said {
		if _, _, err := p.ParseSQL(statement); err != nil && !slices.Contains(lacking(), statement) {
			t.Errorf("MySQL would not understand: %v\n%.600s", err, statement)
		}
	}
	t.Logf("%d different statements to %d servers", len(said), len(files))
	for _, want := range append(lacking(), "SELECT @@log_bin, @@binlog_format", "SET GLOBAL sync_binlog = 1, GLOBAL innodb_flush_log_at_trx_commit = 1") {
		if !said[want] {
			t.Errorf("nobody said %q: was everything written down?", want)
		}
	}
}

// lacking are statements of MySQL 8.4 that the parser does not have: its manual has them in 15.7.7.1, SHOW BINARY LOGS, and in 15.3.1, START
// TRANSACTION, whose characteristics are a list.
func lacking() []string {
	return []string{"SHOW BINARY LOGS", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"}
}

// entry begins each entry of a log: the time, unless it is that of the entry before; whose it is; what it is; and what was said.
var entry = regexp.MustCompile(`^(?:\d{6} [ \d]\d:\d\d:\d\d)?\t+ *(\d+) ([A-Z][A-Za-z ]*)\t(.*)$`)

// written are the statements of a log. From its first word on that is in a comment for versions, a connection is one of the tools'.
func written(log string) (statements []string) {
	tools := map[string]bool{}
	var whose string
	var lines []string
	end := func() {
		statement := strings.Join(lines, "\n")
		if strings.HasPrefix(statement, "/*!") || strings.HasPrefix(statement, "/*M!") {
			tools[whose] = true
		}
		if statement != "" && !tools[whose] {
			statements = append(statements, statement)
		}
		lines = nil
	}
	for line := range strings.SplitSeq(log, "\n") {
		if strings.Contains(line, "started with:") { // which numbers its connections anew
			clear(tools)
		}
		found := entry.FindStringSubmatch(line)
		if found == nil {
			if len(lines) > 0 {
				lines = append(lines, line)
			}
			continue
		}
		end()
		if found[2] == "Query" || found[2] == "Prepare" {
			whose, lines = found[1], []string{found[3]}
		}
	}
	end()
	return statements
}
