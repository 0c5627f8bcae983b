package zipkin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
)

//go:embed page
var pageFiles embed.FS

// A page is the user interface: index.html and what it refers to below a path
// that changes with every byte of it, so that browsers may keep it for ever.
type page struct {
	version string
	index   []byte
	static  map[string][]byte
}

// contentPolicy lets the page run its own scripts and styles and ask its own
// server, and nothing else: span names and tags come from strangers.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

func newPage() *page {
	p := &page{static: make(map[string][]byte)}
	sum := sha256.New()
	// The files are part of the binary: reading them cannot go wrong.
	entries, _ := fs.ReadDir(pageFiles, "page")
	for _, entry := range entries {
		data, _ := pageFiles.ReadFile("page/" + entry.Name())
		fmt.Fprintf(sum, "%s %d\n%s", entry.Name(), len(data), data)
		p.static[entry.Name()] = data
	}
	p.version = hex.EncodeToString(sum.Sum(nil)[:8])
	p.index = bytes.ReplaceAll(p.static["index.html"], []byte("{{version}}"), []byte(p.version))
	delete(p.static, "index.html")
	return p
}

func (p *page) serveIndex(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "max-age=60")
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(p.index) // a client that has gone is no error of ours
}

func (p *page) serveStatic(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	data, ok := p.static[name]
	if !ok || r.PathValue("version") != p.version {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	h.Set("Cache-Control", "max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept-Encoding")
	if len(data) >= gzipFrom && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		data = compress(data)
	}
	_, _ = w.Write(data) // as above
}
