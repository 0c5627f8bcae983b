package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tienda/sqldb"
)

// ShipOptions say how binary logs are shipped.
type ShipOptions struct {
	// Server is whose binary logs are shipped.
	Server sqldb.Config
	// Every is how often, and so what a disaster costs at most, with the time that an upload takes.
	Every time.Duration
	// Spool is a folder for what is not shipped yet; a temporary one when it is empty.
	Spool   string
	Program string
	Now     func() time.Time
}

// Shipper ships the binary logs of one server. There must not be two for one server and bucket.
type Shipper struct {
	store   *Store
	options ShipOptions

	mu       sync.Mutex
	covered  time.Time // everything the server had written by then is in the bucket
	segments int64
	bytes    int64
	failures int64
}

// NewShipper makes one; [Shipper.Run] has it work.
func NewShipper(store *Store, options ShipOptions) *Shipper {
	return &Shipper{store: store, options: options}
}

// place is how far shipping has come.
type place struct {
	history, file, id string
	end               int64
	moved             time.Time // when the tool last had something new, or nothing to bring
	copied            int64     // how long its copy was then
}

// folder is where the parts of the log are.
func (at place) folder() string {
	return binlogsFolder + at.history + "/" + at.file + "/" + at.id + "/"
}

const (
	pauseAfterFailure = 2 * time.Second
	largestSegment    = 4 << 20
	// uploads is how many segments are under way at once, when there is much to ship: while one is sent the next is compressed.
	uploads = 3
	// mostUnjoined is how many finished logs wait on the disk for their parts to be joined. The parts of others stay.
	mostUnjoined = 4
	// answerPatience is how long a server may take for an answer, and a tool for the next bytes of what the server has: the connection to a
	// machine that is gone does not end by itself for hours.
	answerPatience = 10 * time.Second
)

// Run ships until ctx ends, through restarts of the server and failures of the bucket.
func (p *Shipper) Run(ctx context.Context) {
	for {
		err := p.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		p.failed(ctx, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pauseAfterFailure):
		}
	}
}

func (p *Shipper) failed(ctx context.Context, err error) {
	p.mu.Lock()
	p.failures++
	p.mu.Unlock()
	p.store.log.ErrorContext(ctx, "binary logs are not shipped", "err", err)
}

// Covered is the time until which everything the server had written is in the bucket.
func (p *Shipper) Covered() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.covered
}

// follow ships as long as the connection to the server lasts.
func (p *Shipper) follow(ctx context.Context) (err error) {
	server, err := connect(ctx, p.options.Server)
	if err != nil {
		return err
	}
	defer func() { _ = server.close() }() // nothing was written
	name, err := p.store.owner(ctx, server)
	if err == nil {
		err = p.store.own(ctx, name, p.options.Now)
	}
	if err != nil {
		return err
	}
	at, err := p.resume(ctx, server)
	if err != nil {
		return err
	}
	spool, err := os.MkdirTemp(p.options.Spool, "binlogs-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(spool) }() // a temporary folder
	running, stop := context.WithCancel(ctx)
	option, err := server.either(ctx, "binlog", "--connection-server-id", "--stop-never-slave-server-id")
	if err != nil {
		stop()
		return err
	}
	command, err := server.command(running, "binlog", "--read-from-remote-server", "--raw", "--stop-never", option+"=64999", "--result-file="+spool+"/", at.file)
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		stop()
		return err
	}
	over := make(chan error, 1)
	go func() { over <- command.Wait() }()
	var group sync.WaitGroup
	group.Go(func() { p.begin(running, at.history) })
	finished := make(chan place, mostUnjoined)
	group.Go(func() { p.joinLogs(running, spool, finished) })
	defer group.Wait()
	defer stop()
	defer close(finished)
	tick := time.NewTicker(p.options.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			err := p.store.own(ctx, name, p.options.Now) // which may have changed: another is in the place of this one
			if !errors.Is(err, ErrOwner) {
				err = p.ship(ctx, server, spool, at, finished)
			}
			if (errors.Is(err, errNoBinlog) || errors.Is(err, errSilent) || errors.Is(err, ErrOwner)) && ctx.Err() == nil {
				stop()
				return errors.Join(err, ended(command, <-over))
			}
			if err != nil {
				p.failed(ctx, err)
			}
		case err := <-over:
			stop()
			err = errors.Join(ended(command, err), errors.New("the server has ended the connection"))
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.options.Every+10*time.Second)
			defer cancel()
			return errors.Join(err, p.ship(last, server, spool, at, finished))
		}
	}
}

// resume finds out where to go on: behind what is shipped already if the server still has it, and otherwise with a log that the
// server begins now, as a new history. Nothing that was written before its first backup is of use, and orders would wait behind it.
func (p *Shipper) resume(ctx context.Context, server *server) (*place, error) {
	on, format, err := server.binlog(ctx)
	switch {
	case err != nil:
		return nil, err
	case !on:
		return nil, errors.New("the server writes no binary log: start it with log_bin")
	case format != "ROW":
		return nil, fmt.Errorf("binlog_format is %s: set it to ROW, because statements may have another effect when they are repeated", format)
	}
	logs, err := server.logs(ctx)
	if err != nil {
		return nil, err
	}
	all, err := p.store.histories(ctx)
	if err != nil {
		return nil, err
	}
	why := "the bucket has no binary logs yet"
	if len(all) > 0 {
		h := all[len(all)-1]
		last := h.logs[len(h.logs)-1]
		i := slices.IndexFunc(logs, func(l logFile) bool { return l.name == last.file })
		id := ""
		if i >= 0 {
			if id, err = server.logID(ctx, last.file); err != nil {
				return nil, err
			}
		}
		switch {
		case i < 0:
			why = fmt.Sprintf("the server has no binary log %s, which was the last that was shipped", last.file)
		case id != last.id:
			why = fmt.Sprintf("the server's binary log %s is another one than that which was shipped", last.file)
		case logs[i].size < last.end:
			why = fmt.Sprintf("the server's binary log %s is shorter than what was shipped of it", last.file)
		default:
			return &place{history: h.name, file: last.file, id: last.id, end: last.end}, nil
		}
	}
	if err := server.set(ctx, "FLUSH LOCAL BINARY LOGS;"); err != nil {
		return nil, fmt.Errorf("begin a binary log: %w", err)
	}
	now, err := server.position(ctx)
	if err != nil {
		return nil, err
	}
	id, err := server.logID(ctx, now.name)
	if err != nil {
		return nil, err
	}
	at := &place{history: newName(p.options.Now()), file: now.name, id: id}
	p.store.log.WarnContext(ctx, "a new history of binary logs begins", "history", at.history, "log", at.file, "why", why)
	return at, nil
}

// begin takes a backup when the history has none: without one its binary logs could not be used.
func (p *Shipper) begin(ctx context.Context, name string) {
	for {
		done, err := p.begun(ctx, name)
		if done || ctx.Err() != nil {
			return
		}
		if err != nil {
			p.failed(ctx, fmt.Errorf("the backup that a history begins with: %w", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.options.Every):
		}
	}
}

func (p *Shipper) begun(ctx context.Context, name string) (done bool, err error) {
	all, err := p.store.histories(ctx)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(all, func(h history) bool { return h.name == name })
	if i < 0 {
		return false, nil // nothing of it is shipped yet
	}
	backups, err := p.store.List(ctx)
	if err != nil {
		return false, err
	}
	for _, b := range backups {
		if b.Position != nil && slices.ContainsFunc(all[i].logs, func(l shippedLog) bool { return l.file == b.Position.File && l.id == b.Position.ID }) {
			return true, nil
		}
	}
	b, err := p.store.Create(ctx, p.options.Server, p.options.Program, p.options.Now)
	if err == nil {
		p.store.log.InfoContext(ctx, "the history has its first backup", "history", name, "backup", b.Name)
	}
	return err == nil, err
}

// ship sends what the tool has written to the spool since the last time.
func (p *Shipper) ship(ctx context.Context, server *server, spool string, at *place, finished chan<- place) error {
	asked := p.options.Now()
	asking, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	target, positionErr := server.position(asking)
	if err := p.shipLogs(ctx, spool, at, finished); err != nil {
		return err
	}
	if positionErr != nil {
		return fmt.Errorf("%w: %w", errSilent, positionErr)
	}
	if at.file == target.name && at.end >= target.size {
		at.moved = asked
		p.mu.Lock()
		p.covered = asked
		p.mu.Unlock()
		return nil
	}
	return at.silent(spool, target, p.options.Now())
}

var errSilent = errors.New("the server is connected to anew")

// silent is an error when the tool brings nothing of what the server has.
func (at *place) silent(spool string, target logFile, now time.Time) error {
	copied := at.end
	if info, err := os.Stat(filepath.Join(spool, at.file)); err == nil {
		copied = info.Size()
	}
	if at.moved.IsZero() || copied != at.copied {
		at.moved, at.copied = now, copied
	}
	if silence := now.Sub(at.moved); silence > answerPatience {
		return fmt.Errorf("%w: it is at %d of %s, and nothing behind %d of %s has come for %s", errSilent, target.size, target.name, copied, at.file, silence.Round(time.Second))
	}
	return nil
}

// shipLogs sends what there is of one log after the other, and hands those over that are sent as a whole.
func (p *Shipper) shipLogs(ctx context.Context, spool string, at *place, finished chan<- place) error {
	for {
		// Before the log is looked at: the tool is through with a log when it begins the next, and not before.
		next, err := following(spool, at.file)
		if err != nil {
			return err
		}
		path := filepath.Join(spool, at.file)
		whole, err := p.shipLog(ctx, path, at)
		if err != nil || next == "" || !whole {
			return err
		}
		select {
		case finished <- *at:
		default: // its parts stay as they are
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		at.file, at.id, at.end = next, "", 0
	}
}

// shipLog sends the whole events behind at.end of a log in the spool. whole is false while the tool has not copied yet what was
// shipped before.
func (p *Shipper) shipLog(ctx context.Context, path string, at *place) (whole bool, err error) {
	if at.id == "" {
		if at.id, err = idOfFile(path); err != nil || at.id == "" {
			return false, err
		}
	}
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() < at.end {
		return false, err
	}
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(uploads)
	var sent []*segment // an end of 0 is not there yet
	end := at.end
	for end < info.Size() && sending.Err() == nil {
		text := make([]byte, min(info.Size()-end, largestSegment))
		if _, err = file.ReadAt(text, end); err != nil {
			break
		}
		if text, err = p.events(text, file, end, info.Size()); err != nil || len(text) == 0 {
			break
		}
		g := &segment{history: at.history, file: at.file, id: at.id, start: end}
		sent = append(sent, g)
		group.Go(func() error { return p.send(sending, text, g) })
		end += int64(len(text))
	}
	err = errors.Join(err, group.Wait())
	for _, g := range sent {
		if g.end == 0 {
			break // what is there behind it is sent again
		}
		at.end = g.end
	}
	return err == nil, err
}

// events cuts text, which stands at an offset of a log, behind its last whole event. An event that is longer than text is read whole.
func (p *Shipper) events(text []byte, file io.ReaderAt, offset, size int64) ([]byte, error) {
	skip := 0
	if offset == 0 {
		skip = len(binlogMagic)
	}
	if len(text) < skip {
		return nil, nil
	}
	length, _, err := wholeEvents(text[skip:])
	if err != nil {
		return nil, err
	}
	if length > 0 {
		return text[:skip+int(length)], nil
	}
	e, _, err := eventAt(text[skip:])
	if err != nil || e.length == 0 || offset+int64(skip)+e.length > size {
		return nil, err // the rest of it comes
	}
	text = make([]byte, int64(skip)+e.length)
	_, err = file.ReadAt(text, offset)
	return text, err
}

// send stores text as a segment, of which it sets the end and the time of the last event when it is there.
func (p *Shipper) send(ctx context.Context, text []byte, to *segment) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	skip := 0
	if to.start == 0 {
		skip = len(binlogMagic)
	}
	_, last, err := wholeEvents(text[skip:])
	if err != nil {
		return err
	}
	g := *to
	g.end, g.last = g.start+int64(len(text)), last
	var sealed bytes.Buffer
	if err := p.store.sealInto(&sealed, bytes.NewReader(text)); err != nil {
		return err
	}
	if err := p.store.putBytes(ctx, g.name(), sealed.Bytes()); err != nil {
		return err
	}
	*to = g
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments++
	p.bytes += int64(sealed.Len())
	return nil
}

// joinLogs replaces the parts of each finished log by one object, while shipping goes on with the next log: a shop that writes
// all the time makes some ten thousand parts a day. It sends all of the log once more, so it waits while shipping is behind.
func (p *Shipper) joinLogs(ctx context.Context, spool string, finished <-chan place) {
	for at := range finished {
		for ctx.Err() == nil && p.options.Now().Sub(p.Covered()) > 2*p.options.Every {
			select {
			case <-ctx.Done():
			case <-time.After(p.options.Every):
			}
		}
		path := filepath.Join(spool, at.file)
		if err := p.joinLog(ctx, path, at); err != nil && ctx.Err() == nil {
			p.failed(ctx, fmt.Errorf("join the parts of %s, which stay: %w", at.file, err))
		}
		_ = os.Remove(path) // the folder goes anyway
	}
}

func (p *Shipper) joinLog(ctx context.Context, path string, at place) error {
	parts, err := p.store.bucket.list(ctx, at.folder())
	if err != nil || len(parts) < 2 {
		return err
	}
	whole := segment{history: at.history, file: at.file, id: at.id, end: at.end}
	for _, part := range parts {
		if g, ok := parseSegment(part.name); ok {
			whole.last = later(whole.last, g.last)
		}
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, _, err = p.store.putStream(ctx, whole.name(), func(w io.Writer) error { return p.store.sealInto(w, io.LimitReader(file, at.end)) })
	if err != nil {
		return err
	}
	for _, part := range parts {
		if part.name != whole.name() {
			if err := p.store.bucket.remove(ctx, part.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// following is the log in the spool that comes after one, or empty.
func following(spool, file string) (string, error) {
	n, err := logNumber(file)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(spool)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if m, err := logNumber(entry.Name()); err == nil && m == n+1 {
			return entry.Name(), nil
		}
	}
	return "", nil
}
