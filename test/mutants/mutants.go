// Package mutants plants bugs into the shop and sees them caught: the proof that what proves the shop
// can fail.
//
// A planted bug is a file of this folder, NAME.txtar: a line that says what is wrong, what it breaks and
// the command that must catch it, and then what stands in the sources in pairs of old and new text. It is
// compiled with the -overlay of the go command, so that the sources themselves never hold it. Text that
// is not in its file exactly once is an error: whoever changes the code changes the bug with it.
package mutants

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// Mutant is one planted bug.
type Mutant struct {
	Name   string
	Bug    string // what is wrong, in a sentence
	Breaks string // the promise that it breaks
	Caught Catch
	edits  []edit
}

// Catch is the command that fails because of a bug.
type Catch struct {
	Command string // as a person would type it
	Engine  string // "sqlite", or "mysql" for what only shows there
	Says    string // what it must say: a test may fail for another reason
}

// Commands of tienda that catch bugs in a whole shop; Says is the name of the invariant that they find violated.
const (
	Audit  = "tienda audit"
	Verify = "tienda load --verify"
)

// edit replaces text that stands in a file once.
type edit struct{ file, from, to string }

// Package and Tests are those of a command of the go tool; ok is false for one of tienda.
func (c Catch) Package() (pkg, tests string, ok bool) {
	words := strings.Fields(c.Command)
	if len(words) != 5 || words[0] != "go" || words[1] != "test" || words[3] != "-run" {
		return "", "", false
	}
	return words[2], strings.Trim(words[4], "'"), true
}

// Load reads every mutant of a folder, in the order of their names.
func Load(folder string) ([]Mutant, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
	if err != nil {
		return nil, fmt.Errorf("look for mutants: %w", err)
	}
	var all []Mutant
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read mutant: %w", err)
		}
		m, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m.Name = strings.TrimSuffix(filepath.Base(path), ".txtar")
		all = append(all, m)
	}
	return all, nil
}

func parse(text []byte) (Mutant, error) {
	archive := txtar.Parse(text)
	m := Mutant{Caught: Catch{Engine: "sqlite"}}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "":
		case "bug":
			m.Bug = value
		case "breaks":
			m.Breaks = value
		case "caught by":
			m.Caught.Command = value
		case "on":
			m.Caught.Engine = value
		case "says":
			m.Caught.Says = value
		default:
			return m, fmt.Errorf("line %q: want bug, breaks, caught by, on or says", strings.TrimSpace(line))
		}
	}
	if m.Bug == "" || m.Breaks == "" || m.Caught.Command == "" || m.Caught.Says == "" {
		return m, errors.New("the lines bug, breaks, caught by and says must all be there")
	}
	if _, _, ok := m.Caught.Package(); !ok && m.Caught.Command != Audit && m.Caught.Command != Verify {
		return m, fmt.Errorf("caught by %q: want go test PACKAGE -run TESTS, %s or %s", m.Caught.Command, Audit, Verify)
	}
	if len(archive.Files) == 0 || len(archive.Files)%2 != 0 {
		return m, errors.New("want pairs of sections, \"old FILE\" and \"new FILE\"")
	}
	for pair := range slices.Chunk(archive.Files, 2) {
		before, isOld := strings.CutPrefix(pair[0].Name, "old ")
		after, isNew := strings.CutPrefix(pair[1].Name, "new ")
		if !isOld || !isNew || before != after {
			return m, fmt.Errorf("sections %q and %q: want \"old FILE\" and \"new FILE\"", pair[0].Name, pair[1].Name)
		}
		m.edits = append(m.edits, edit{before, strings.TrimSuffix(string(pair[0].Data), "\n"), strings.TrimSuffix(string(pair[1].Data), "\n")})
	}
	return m, nil
}

// Plant writes the files of the module at root with the bug in them into folder, and returns the file
// for the flag -overlay.
func (m Mutant) Plant(root, folder string) (overlay string, err error) {
	texts := map[string]string{}
	for _, e := range m.edits {
		path := filepath.Join(root, e.file)
		if _, read := texts[path]; !read {
			text, err := os.ReadFile(path)
			if err != nil {
				return "", fmt.Errorf("mutant %s: %w", m.Name, err)
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], e.from); n != 1 || e.from == "" {
			return "", fmt.Errorf("mutant %s: its old text is in %s %d times and must be there once; bring test/mutants/%s.txtar up to date with the code:\n%s", m.Name, e.file, n, m.Name, e.from)
		}
		texts[path] = strings.Replace(texts[path], e.from, e.to, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		planted := filepath.Join(folder, fmt.Sprintf("%d-%s", len(replace), filepath.Base(path)))
		if err := os.WriteFile(planted, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		replace[path] = planted
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	overlay = filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	return overlay, nil
}
