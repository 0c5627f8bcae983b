package backup

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tienda/sqldb"
)

// Counts are the rows of tables, by schema and table.
type Counts map[string]map[string]int64

// Total is the rows of all tables.
func (c Counts) Total() int64 {
	var total int64
	for _, tables := range c {
		for _, n := range tables {
			total += n
		}
	}
	return total
}

// count counts the rows of schemas as they are at one instant. The server's client does, because it takes a transaction that sees nothing
// of what others commit meanwhile.
func (s *server) count(ctx context.Context, schemas []string) (Counts, error) {
	type table struct{ schema, name string }
	tables, err := sqldb.All(ctx, s.db, func(scan func(...any) error) (t table, err error) { return t, scan(&t.schema, &t.name) },
		`SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' ORDER BY table_schema, table_name`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	tables = slices.DeleteFunc(tables, func(t table) bool { return !slices.Contains(schemas, t.schema) })
	counts := Counts{}
	for _, schema := range schemas {
		counts[schema] = map[string]int64{}
	}
	var statements strings.Builder
	statements.WriteString("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;\nSTART TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\n")
	for _, t := range tables {
		fmt.Fprintf(&statements, "SELECT COUNT(*) FROM %s.%s;\n", quoted(t.schema), quoted(t.name))
	}
	command, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	command.Args = append(command.Args, "--skip-column-names")
	command.Stdin, command.Stdout = strings.NewReader(statements.String()), &out
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("count rows: %w", ended(command, err))
	}
	lines := bufio.NewScanner(&out)
	for _, t := range tables {
		if !lines.Scan() {
			return nil, fmt.Errorf("count rows: the client says nothing of the table %s.%s", t.schema, t.name)
		}
		if counts[t.schema][t.name], err = number(lines.Text()); err != nil {
			return nil, fmt.Errorf("count the rows of %s.%s: %w", t.schema, t.name, err)
		}
	}
	return counts, nil
}

// few is how many rows a table may lose between the instant of a dump and the one at which they are counted, until nothing is left of it: a
// queue that is emptied.
const few = 10

// lacks says what is not there of what a server had when a dump was taken of it: tables, all rows of a table, all rows of a schema. It is empty when
// nothing of that kind is missing.
func (c Counts) lacks(there Counts) string {
	var missing []string
	for _, schema := range slices.Sorted(maps.Keys(c)) {
		var had, has int64
		before := len(missing)
		for _, table := range slices.Sorted(maps.Keys(c[schema])) {
			n, ok := there[schema][table]
			switch rows := c[schema][table]; {
			case !ok:
				missing = append(missing, fmt.Sprintf("the table %s.%s", schema, table))
			case rows > few && n == 0:
				missing = append(missing, fmt.Sprintf("the %d rows of %s.%s", rows, schema, table))
			}
			had, has = had+c[schema][table], has+n
		}
		if had > 0 && has == 0 && len(missing) == before {
			missing = append(missing, fmt.Sprintf("the %d rows of the schema %s", had, schema))
		}
	}
	return strings.Join(missing, ", ")
}
