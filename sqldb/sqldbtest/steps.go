package sqldbtest

import (
	"database/sql/driver"
	"testing"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Steps runs one statement on a SQLite file, without keeping what it writes, and returns how many
// instructions of SQLite's virtual machine that took (SQLITE_STMTSTATUS_VM_STEP), how many rows came back
// or were written, and the first value of the first row as a number. It is what MySQL tells by
// Handler_read: how much was really read. database/sql does not hand it out.
func Steps(tb testing.TB, path, query string, args []any) (steps, rows, first int64) {
	tb.Helper()
	tls := libc.NewTLS()
	defer tls.Close()
	text := func(s string) uintptr {
		p, err := libc.CString(s)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { libc.Xfree(nil, p) })
		return p
	}
	out := tls.Alloc(16) // two pointers that SQLite sets
	defer tls.Free(16)
	set := func(offset uintptr) uintptr {
		at := out + offset
		return **(**uintptr)(unsafe.Pointer(&at)) // C memory, which the collector does not move
	}
	check := func(what string, code int32) {
		tb.Helper()
		if code != sqlite3.SQLITE_OK {
			tb.Fatalf("%s %s: SQLite error %d", what, query, code)
		}
	}
	check("open", sqlite3.Xsqlite3_open_v2(tls, text(path), out, sqlite3.SQLITE_OPEN_READWRITE, 0))
	db := set(0)
	defer sqlite3.Xsqlite3_close_v2(tls, db)
	check("begin", sqlite3.Xsqlite3_exec(tls, db, text("BEGIN IMMEDIATE"), 0, 0, 0))
	defer sqlite3.Xsqlite3_exec(tls, db, text("ROLLBACK"), 0, 0, 0)
	check("prepare", sqlite3.Xsqlite3_prepare_v2(tls, db, text(query), -1, out+8, 0))
	statement := set(8)
	defer sqlite3.Xsqlite3_finalize(tls, statement)
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			tb.Fatal(err)
		}
		n := int32(i + 1)
		switch v := value.(type) {
		case nil:
			check("bind", sqlite3.Xsqlite3_bind_null(tls, statement, n))
		case int64:
			check("bind", sqlite3.Xsqlite3_bind_int64(tls, statement, n, v))
		case bool:
			var b int64
			if v {
				b = 1
			}
			check("bind", sqlite3.Xsqlite3_bind_int64(tls, statement, n, b))
		case string:
			check("bind", sqlite3.Xsqlite3_bind_text(tls, statement, n, text(v), int32(len(v)), 0))
		default:
			tb.Fatalf("argument %d of %s is %T", n, query, value)
		}
	}
	for {
		switch code := sqlite3.Xsqlite3_step(tls, statement); code {
		case sqlite3.SQLITE_ROW:
			if rows == 0 {
				first = sqlite3.Xsqlite3_column_int64(tls, statement, 0)
			}
			rows++
			continue
		case sqlite3.SQLITE_DONE, sqlite3.SQLITE_CONSTRAINT: // a row that is there already is found by its key
		default:
			tb.Fatalf("step %s: SQLite error %d", query, code)
		}
		if rows == 0 {
			rows = int64(sqlite3.Xsqlite3_changes(tls, db))
		}
		return int64(sqlite3.Xsqlite3_stmt_status(tls, statement, sqlite3.SQLITE_STMTSTATUS_VM_STEP, 0)), rows, first
	}
}
