package backup

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// anEvent is an event of a type, written at a second.
func anEvent(at uint32, content string) []byte {
	text := make([]byte, eventHeader, eventHeader+len(content))
	binary.LittleEndian.PutUint32(text, at)
	binary.LittleEndian.PutUint32(text[9:], uint32(eventHeader+len(content)))
	return append(text, content...)
}

// TestWholeEvents: only what is whole is shipped.
func TestWholeEvents(t *testing.T) {
	t.Parallel()
	first, second := anEvent(100, "format"), anEvent(99, "rows")
	both := append(bytes.Clone(first), second...)
	for n := range len(both) + 1 {
		want := 0
		if n >= len(first) {
			want = len(first)
		}
		if n == len(both) {
			want = n
		}
		got, last, err := wholeEvents(both[:n])
		if err != nil || got != int64(want) || want > 0 && !last.Equal(time.Unix(100, 0)) {
			t.Errorf("of %d bytes %d are whole, until %v (%v), want %d", n, got, last, err, want)
		}
	}
	if _, _, err := wholeEvents(make([]byte, 100)); err == nil {
		t.Error("zeros are taken for events")
	}
}

// TestLogID: logs are told apart by how they begin, and not by whether the server has them open.
func TestLogID(t *testing.T) {
	t.Parallel()
	log := append(bytes.Clone(binlogMagic), anEvent(100, "format, checksum")...)
	id, err := logID(log)
	if err != nil || len(id) != 16 {
		t.Fatalf("logID = %q, %v", id, err)
	}
	open := bytes.Clone(log)
	open[4+17] = 1
	if again, _ := logID(append(open, "more"...)); again != id {
		t.Errorf("the ID of an open log is %s, want %s", again, id)
	}
	if other, _ := logID(append(bytes.Clone(binlogMagic), anEvent(101, "format, checksum")...)); other == id {
		t.Error("logs that begin at different times have the same ID")
	}
	for n := range len(log) {
		if id, err := logID(log[:n]); id != "" || err != nil {
			t.Errorf("logID of %d bytes = %q, %v, want none yet", n, id, err)
		}
	}
	if _, err := logID([]byte("text")); err == nil {
		t.Error("text is taken for a binary log")
	}
}

// TestJoin: a segment that is there twice is used once, and behind a gap nothing.
func TestJoin(t *testing.T) {
	t.Parallel()
	at := func(start, end int64) segment {
		return segment{start: start, end: end, last: time.Unix(end, 0)}
	}
	l := shippedLog{segments: []segment{at(300, 400), at(0, 100), at(100, 250), at(100, 180), at(180, 300), at(500, 600)}}
	l.join()
	if want := []segment{at(0, 100), at(100, 250), at(180, 300), at(300, 400)}; l.end != 400 || !l.last.Equal(time.Unix(400, 0)) ||
		!cmp.Equal(want, l.segments, cmp.AllowUnexported(segment{})) {
		t.Errorf("joined = %+v until %d, want %+v until 400", l.segments, l.end, want)
	}
}

// TestGap: logs behind a missing part do not follow, and it is said that they are there.
func TestGap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		missing string // log and part, such as 21, or a log
		logs    int
		whole   bool
	}{
		"nothing":                  {"", 3, true},
		"the middle of the first":  {"11", 1, false},
		"the middle of the second": {"21", 2, false},
		"the beginning of it":      {"20", 1, false},
		"the second":               {"2", 1, false},
		"the last":                 {"3", 2, true},
	} {
		var h history
		for number := range 3 {
			l := shippedLog{file: fmt.Sprintf("binlog.%06d", number+1), number: int64(number + 1), id: "a"}
			for part := range 3 {
				if strings.HasPrefix(fmt.Sprintf("%d%d", number+1, part), test.missing) && test.missing != "" {
					continue
				}
				l.segments = append(l.segments, segment{start: int64(part) * 100, end: int64(part+1) * 100})
			}
			if l.segments != nil {
				l.join()
				h.logs = append(h.logs, l)
			}
		}
		logs, whole, err := h.from(Position{File: "binlog.000001", ID: "a", Offset: 50})
		if len(logs) != test.logs || whole != test.whole || err != nil {
			t.Errorf("without %s: %d logs, whole %v, %v, want %d, %v", name, len(logs), whole, err, test.logs, test.whole)
		}
	}
}

// TestCopyStatements: statements about accounts are left out, and nothing else.
func TestCopyStatements(t *testing.T) {
	t.Parallel()
	const text = `DELIMITER /*!*/;
# at 4
#260102  3:04:05 server id 1  end_log_pos 256 CRC32 0x2913c3b6 	Start: binlog v 4
BINLOG '
Z3JhbnQ=
'/*!*/;
#260102 13:04:06 server id 1  end_log_pos 300 	Query
SET TIMESTAMP=1/*!*/;
create user b@'%' identified by 'x'
/*!*/;
SET TIMESTAMP=2/*!*/;
CREATE TABLE grant_log (id INT)
/*!*/;
GRANT ALL ON a.* TO b
/*!*/;
ALTER  USER b@'%'
 IDENTIFIED BY 'y'
/*!*/;
ALTER TABLE users ADD COLUMN role INT
/*!*/;
COMMIT/*!*/;
DELIMITER ;
# End of log file
`
	var out strings.Builder
	last, err := copyStatements(&out, strings.NewReader(text))
	want := strings.NewReplacer("create user b@'%' identified by 'x'\n/*!*/;\n", "", "GRANT ALL ON a.* TO b\n/*!*/;\n", "",
		"ALTER  USER b@'%'\n IDENTIFIED BY 'y'\n/*!*/;\n", "").Replace(text)
	if diff := cmp.Diff(want, out.String()); diff != "" || err != nil {
		t.Errorf("copied (-want +got), %v:\n%s", err, diff)
	}
	if got := last.Format(time.DateTime); got != "2026-01-02 13:04:06" {
		t.Errorf("the last event is of %s", got)
	}
}

// TestSegmentWithoutTime: a segment whose events have no time is one all the same.
func TestSegmentWithoutTime(t *testing.T) {
	t.Parallel()
	name := segment{history: "h", file: "binlog.000001", id: "a", end: 100}.name()
	if g, ok := parseSegment(name); !ok || g.end != 100 {
		t.Errorf("parseSegment(%q) = %+v, %v", name, g, ok)
	}
}

// FuzzParseSegment: the name of an object is a segment's only if a segment has that name.
func FuzzParseSegment(f *testing.F) {
	f.Add(segment{history: "20260102T030405Z-a", file: "binlog.000007", id: "a", end: 100, last: time.Unix(1767323045, 0)}.name())
	f.Add("binlogs/a/../b/1-2-3.gz.age")
	f.Add("binlogs/a/binlog.x/b/00000000000001-00000000000000-3.gz.age")
	f.Fuzz(func(t *testing.T, name string) {
		g, ok := parseSegment(name)
		if !ok {
			return
		}
		again, ok := parseSegment(g.name())
		again.object = g.object
		if !ok || again != g || g.end <= g.start || strings.Contains(g.file, "/") {
			t.Errorf("parseSegment(%q) = %+v, and of its name %+v, %v", name, g, again, ok)
		}
	})
}

// TestPosition: the place of a dump is read as each server's tool writes it.
func TestPosition(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*Position{
		"--\n\n-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000002', MASTER_LOG_POS=603;\n":             {File: "binlog.000002", Offset: 603},
		"--\n\n-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000007', SOURCE_LOG_POS=157;\n": {File: "binlog.000007", Offset: 157},
		"INSERT INTO t VALUES ('-- CHANGE MASTER TO MASTER_LOG_FILE=');\n":                             nil,
		"-- CHANGE MASTER TO MASTER_LOG_FILE='../binlog.000002', MASTER_LOG_POS=603;\n":                nil,
	} {
		seen := &sqlSeen{}
		_, _ = io.WriteString(seen, text)
		got, err := seen.position()
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("position of %q (-want +got), %v:\n%s", text, err, diff)
		}
	}
}
