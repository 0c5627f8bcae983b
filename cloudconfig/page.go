package cloudconfig

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"contains": strings.Contains}).Parse(pageSource))

// servePage lists for people what the other paths have; Spring's server has no such page.
func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) error {
	apps, err := s.backend.applications()
	if err != nil {
		return err
	}
	base := ""
	if len(s.prefix) > 0 {
		base = "/" + strings.Join(s.prefix, "/")
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, struct {
		Base         string
		Applications []application
	}{base, apps}); err != nil {
		return fmt.Errorf("render the page: %w", err)
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	return write(w, "text/html;charset=UTF-8", b.Bytes())
}
