package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A binary log is four bytes and then events, each with a header of 19 bytes in little endian: when it was written (4), its type
// (1), the server's id (4), its length with the header (4), where it ends (4), flags (2). The first describes the format and says
// when the log was begun. See the MySQL Source Code Documentation, "Binary Log Event Structure"; MariaDB has kept all of it.
const (
	eventHeader  = 19
	largestEvent = 1 << 30 // max_allowed_packet is at most that
)

var binlogMagic = []byte{0xfe, 'b', 'i', 'n'}

var errNoBinlog = errors.New("this is no binary log, or one that the server encrypts")

// event is what the shipper wants to know of one.
type event struct {
	length int64
	at     time.Time
}

// eventAt reads the header of the event that text begins with; whole is false when there is less than the event.
func eventAt(text []byte) (e event, whole bool, err error) {
	if len(text) < eventHeader {
		return e, false, nil
	}
	e.at = time.Unix(int64(binary.LittleEndian.Uint32(text)), 0)
	e.length = int64(binary.LittleEndian.Uint32(text[9:]))
	if e.length < eventHeader || e.length > largestEvent {
		return e, false, fmt.Errorf("an event has a length of %d: %w", e.length, errNoBinlog)
	}
	return e, e.length <= int64(len(text)), nil
}

// wholeEvents is how much of text, which begins with an event, is whole events, and when the last of them was written. The time is
// zero when none has one.
func wholeEvents(text []byte) (length int64, last time.Time, err error) {
	for {
		e, whole, err := eventAt(text[length:])
		if err != nil || !whole {
			return length, last, err
		}
		length += e.length
		if e.at.After(last) && e.at.Unix() > 0 {
			last = e.at
		}
	}
}

// logID tells binary logs of the same name apart: it is made of what a log begins with, which says when and by which server it was
// begun. It is empty when there is not enough of it yet.
func logID(start []byte) (string, error) {
	if len(start) < len(binlogMagic) {
		return "", nil
	}
	if !bytes.HasPrefix(start, binlogMagic) {
		return "", errNoBinlog
	}
	first := start[len(binlogMagic):]
	e, whole, err := eventAt(first)
	if err != nil || !whole {
		return "", err
	}
	identity := bytes.Clone(first[:e.length])
	clear(identity[17:19]) // the flags say whether the server has it open
	hash := sha256.Sum256(identity[:max(eventHeader, e.length-4)])
	return hex.EncodeToString(hash[:8]), nil
}

// logNumber is the number at the end of the name of a binary log, by which they follow one another.
func logNumber(file string) (int64, error) {
	_, digits, ok := strings.Cut(file, ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || strings.Contains(file, "/") {
		return 0, fmt.Errorf("%q is no name of a binary log", file)
	}
	return n, nil
}

func number(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}

// segment is a part of a binary log in the bucket. Its name says everything.
type segment struct {
	history, file, id string
	start, end        int64
	last              time.Time // of its events; none may have one
	object            string
	stored            time.Time // by the clock of the bucket
}

const segmentSuffix = ".gz.age"

func (g segment) name() string {
	return fmt.Sprintf("%s%s/%s/%s/%014d-%014d-%d%s", binlogsFolder, g.history, g.file, g.id, g.start, g.end, max(0, g.last.Unix()), segmentSuffix)
}

// parseSegment reads the name of an object.
func parseSegment(name string) (segment, bool) {
	parts := strings.Split(strings.TrimPrefix(name, binlogsFolder), "/")
	if !strings.HasPrefix(name, binlogsFolder) || len(parts) != 4 {
		return segment{}, false
	}
	base, ok := strings.CutSuffix(parts[3], segmentSuffix)
	numbers := strings.Split(base, "-")
	if !ok || len(numbers) != 3 {
		return segment{}, false
	}
	g := segment{history: parts[0], file: parts[1], id: parts[2], object: name}
	var unix int64
	for i, n := range []*int64{&g.start, &g.end, &unix} {
		var err error
		if *n, err = strconv.ParseInt(numbers[i], 10, 64); err != nil {
			return segment{}, false
		}
	}
	g.last = time.Unix(unix, 0)
	if _, err := logNumber(g.file); err != nil || g.start < 0 || g.end <= g.start {
		return segment{}, false
	}
	return g, true
}
