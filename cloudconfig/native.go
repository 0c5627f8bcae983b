package cloudconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const maxFile = 3 << 20 // bytes, SnakeYAML's own limit

// native finds files in search locations as Spring Boot does for an application
// with these names and profiles.
type native struct {
	settings Native
	files    fs.FS // behind "classpath:" locations
}

// A location is a folder that was opened for one request.
type location struct {
	name  string // with a slash at the end, as it begins the names of sources
	files fs.FS
	close func() error
}

// extensions in the order of precedence.
var extensions = [...]string{".properties", ".yml", ".yaml"}

// environment implements backend. Sources are ordered by profile (the last one
// first, then none), location (later wins), name (later wins, "application"
// last), extension and document.
func (n *native) environment(q query) (*Environment, error) {
	env := &Environment{Name: q.app, Profiles: []string{q.profile}, Label: q.label, Version: n.settings.Version}
	locations, err := n.locations(q)
	if err != nil {
		return nil, err
	}
	defer closeAll(locations)
	names := append([]string{"application"}, slices.DeleteFunc(splitNames(q.app), func(s string) bool {
		return s == "application"
	})...)
	profiles := splitNames(q.profile)
	for _, suffix := range slices.Backward(append([]string{""}, suffixes(profiles)...)) {
		for _, l := range slices.Backward(locations) {
			for _, name := range slices.Backward(names) {
				for _, extension := range extensions {
					sources, err := n.load(l, name+suffix+extension, profiles)
					if err != nil {
						return nil, err
					}
					env.PropertySources = append(env.PropertySources, sources...)
				}
			}
		}
	}
	return env, nil
}

func suffixes(profiles []string) []string {
	s := make([]string, len(profiles))
	for i, p := range profiles {
		s[i] = "-" + p
	}
	return s
}

// load reads one file, if it exists.
func (n *native) load(l location, name string, profiles []string) ([]PropertySource, error) {
	data, _, err := readFile(l.files, name)
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.name+name, err)
	}
	documents, err := parseFile(l.name+name, data)
	if err != nil {
		return nil, err
	}
	return activeDocuments(l.name+name, documents, func(s Source) (bool, error) {
		if slices.Equal(profiles, []string{"default"}) {
			// The client asks this before it knows its profiles, and asks again then.
			return !isConditional(s), nil
		}
		return isActive(s, profiles)
	})
}

// resource implements backend: the first location that has the file, for the
// first of the profiles that has its own, wins.
func (n *native) resource(q query, file string) ([]byte, time.Time, error) {
	locations, err := n.locations(q)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer closeAll(locations)
	extension := path.Ext(file)
	stem := strings.TrimSuffix(file, extension)
	var candidates []string
	for _, p := range splitNames(q.profile) {
		if p != "default" {
			candidates = append(candidates, stem+"-"+p+extension)
		}
	}
	candidates = append(candidates, file)
	for _, l := range locations {
		for _, candidate := range candidates {
			data, modified, err := readFile(l.files, candidate)
			if err == nil {
				return data, modified, nil
			}
			if errors.Is(err, errTooLarge) {
				return nil, time.Time{}, fmt.Errorf("read %s: %w", l.name+candidate, err)
			}
			// Absent, a folder, or a link that leaves the location: not there for the client.
		}
	}
	return nil, time.Time{}, fs.ErrNotExist
}

// isAbsent includes paths that lead through a file, as a label may that has a slash.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

var errTooLarge = fmt.Errorf("larger than %d bytes", maxFile)

// readFile reads a regular file; folders count as absent.
func readFile(files fs.FS, name string) ([]byte, time.Time, error) {
	if !fs.ValidPath(name) {
		return nil, time.Time{}, fs.ErrNotExist
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() {
		return nil, time.Time{}, fs.ErrNotExist
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(data) > maxFile {
		return nil, time.Time{}, errTooLarge
	}
	return data, info.ModTime(), nil
}

// locations opens the folders for a request, those of the label after the
// others. Folders that do not exist are left out.
func (n *native) locations(q query) ([]location, error) {
	label := q.label
	if label == "" {
		label = n.settings.DefaultLabel
	}
	patterns := n.settings.SearchLocations
	if len(patterns) == 0 {
		patterns = []string{"classpath:/"}
	}
	var names []string
	for _, pattern := range patterns {
		for _, profile := range splitNames(q.profile) {
			for _, app := range splitNames(q.app) {
				names = append(names, withSlash(strings.NewReplacer(
					"{application}", app, "{profile}", profile, "{label}", label).Replace(pattern)))
			}
		}
	}
	if n.settings.AddLabelLocations {
		for _, pattern := range patterns {
			if strings.Contains(pattern, "{") { // its place for labels is in the pattern
				continue
			}
			for _, l := range splitNames(label) {
				names = append(names, withSlash(pattern)+l+"/")
			}
		}
	}
	var opened []location
	seen := make(map[string]bool)
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		l, err := n.open(name)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			closeAll(opened)
			return nil, fmt.Errorf("open search location %s: %w", name, err)
		}
		opened = append(opened, l)
	}
	return opened, nil
}

func withSlash(s string) string {
	return strings.TrimRight(s, "/") + "/"
}

// open opens a folder. On disk nothing outside it can be reached, not by links either.
func (n *native) open(name string) (location, error) {
	name = strings.TrimPrefix(name, "optional:")
	if inside, ok := strings.CutPrefix(name, "classpath:"); ok {
		dir := strings.Trim(inside, "/")
		if dir == "" {
			dir = "."
		}
		if n.files == nil || !fs.ValidPath(dir) {
			return location{}, fs.ErrNotExist
		}
		info, err := fs.Stat(n.files, dir)
		if err != nil {
			return location{}, err
		}
		if !info.IsDir() {
			return location{}, fs.ErrNotExist
		}
		files, err := fs.Sub(n.files, dir)
		if err != nil {
			return location{}, err
		}
		return location{name: "classpath:/" + strings.TrimPrefix(dir+"/", "./"), files: files, close: func() error { return nil }}, nil
	}
	dir, err := filepath.Abs(filePath(name))
	if err != nil {
		return location{}, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return location{}, err
	}
	if !info.IsDir() {
		return location{}, fs.ErrNotExist
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return location{}, err
	}
	return location{name: "file:" + withSlash(filepath.ToSlash(dir)), files: root.FS(), close: root.Close}, nil
}

// filePath takes the path out of file:./config, file:///etc/config or a plain path.
func filePath(name string) string {
	name = strings.TrimPrefix(name, "file:")
	if strings.HasPrefix(name, "//") {
		name = "/" + strings.TrimLeft(name, "/")
	}
	return filepath.FromSlash(name)
}

func closeAll(locations []location) {
	for _, l := range locations {
		_ = l.close() // it was opened for reading
	}
}

// applications lists the applications of the files, each with its profiles. A
// name with a hyphen is taken for a profile when the part before it is an
// application itself.
func (n *native) applications() ([]application, error) {
	locations, err := n.locations(query{app: "application", profile: "default"})
	if err != nil {
		return nil, err
	}
	defer closeAll(locations)
	var stems []string
	for _, l := range locations {
		entries, err := fs.ReadDir(l.files, ".")
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", l.name, err)
		}
		for _, e := range entries {
			if ext := path.Ext(e.Name()); slices.Contains(extensions[:], ext) && !e.IsDir() {
				stems = append(stems, strings.TrimSuffix(e.Name(), ext))
			}
		}
	}
	stems = append(stems, "application") // every application has it, be it empty
	slices.Sort(stems)
	return groupProfiles(slices.Compact(stems)), nil
}

type application struct {
	Name     string
	Profiles []string
}

// groupProfiles takes sorted names, so an application comes before its profiles.
func groupProfiles(stems []string) []application {
	var apps []application
	for _, stem := range stems {
		owner := -1
		for i, a := range apps {
			if strings.HasPrefix(stem, a.Name+"-") && (owner < 0 || len(a.Name) > len(apps[owner].Name)) {
				owner = i
			}
		}
		if owner < 0 {
			apps = append(apps, application{Name: stem, Profiles: []string{"default"}})
			continue
		}
		if profile := stem[len(apps[owner].Name)+1:]; profile != "default" {
			apps[owner].Profiles = append(apps[owner].Profiles, profile)
		}
	}
	return apps
}
