package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCommandsOfDocuments: what the documents say to this program it understands, every command and every flag.
func TestCommandsOfDocuments(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("documents: %v, %v", files, err)
	}
	blocks := regexp.MustCompile("(?ms)^```(?:sh|bash)?\\n(.*?)^```$")
	command := regexp.MustCompile(`(?m)(?:^|\s)(?:bin|/opt/tienda)/tienda ([a-z][^\n|&;#>]*)`)
	checked := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range blocks.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\\\n", " "), -1) {
			for _, match := range command.FindAllStringSubmatch(block[1], -1) {
				err := Run(t.Context(), append(strings.Fields(match[1]), "--help"), nil, terminal{io.Discard, io.Discard})
				if err != nil {
					t.Errorf("%s: tienda %s: %v", filepath.Base(file), match[1], err)
				}
				checked[filepath.Base(file)]++
			}
		}
	}
	if checked["recovery.md"] < 8 || checked["terraform.md"] < 4 {
		t.Errorf("commands that were found: %v; is it not too few?", checked)
	}
}

// TestChecksNamedInDocuments: a test that a document names is there, and what it says of it can be looked up.
func TestChecksNamedInDocuments(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(t \*testing\.T\)`)
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != "." && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		for _, match := range function.FindAllStringSubmatch(string(text), -1) {
			there[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range documents(t) {
		for _, match := range regexp.MustCompile("`(Test[A-Z]\\w*)`").FindAllStringSubmatch(text, -1) {
			if !there[match[1]] {
				t.Errorf("%s names %s: there is no such test", path, match[1])
			}
		}
	}
}
