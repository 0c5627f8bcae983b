package eureka

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"runtime"
	"strings"
	"time"
)

//go:embed dashboard.html
var dashboardHTML embed.FS

var pages = template.Must(template.ParseFS(dashboardHTML, "dashboard.html"))

// Netflix tells its deployments apart by these; without configuration its server
// says the same.
const (
	environment = "test"
	dataCenter  = "default"
)

// settleTime is how long after the start few heartbeats are no reason to warn.
const settleTime = 5 * time.Minute

// overview is what the dashboard shows.
type overview struct {
	Health       health
	Warning      string
	Emergency    bool
	Now, Uptime  string
	Environment  string
	DataCenter   string
	Applications []appRow
	Total        int
	Replicas     []node
	General      []fact
}

type fact struct{ Name, Value string }

// appRow is an application in the dashboard's table.
type appRow struct {
	Name     string
	Count    int
	Zones    string
	Statuses []statusGroup
}

// statusGroup is the instances of an application that share a status.
type statusGroup struct {
	Status    Status
	Instances []link
}

// link is an instance; URL is empty unless it is one to click on.
type link struct{ ID, URL string }

func (s *Server) overview() overview {
	now := s.now()
	o := overview{
		Health:      s.registry.health(),
		Now:         now.Format("2006-01-02T15:04:05 -0700"),
		Uptime:      uptime(now.Sub(s.started)),
		Environment: environment,
		DataCenter:  dataCenter,
		General:     s.general(now),
	}
	o.Replicas = s.peers.others()
	o.Warning, o.Emergency = o.Health.warning(now.Sub(s.started))
	for _, app := range s.registry.applications(everything).Applications {
		row := newAppRow(app)
		o.Applications = append(o.Applications, row)
		o.Total += row.Count
	}
	return o
}

// warning is what people should know about the registry's health, and whether
// it is an emergency.
func (h health) warning(up time.Duration) (string, bool) {
	few := h.Renewals <= h.Threshold && up > settleTime
	switch {
	case few && h.Preservation:
		return "EMERGENCY! EUREKA MAY BE INCORRECTLY CLAIMING INSTANCES ARE UP WHEN THEY'RE NOT. " +
			"RENEWALS ARE LESSER THAN THRESHOLD AND HENCE THE INSTANCES ARE NOT BEING EXPIRED JUST TO BE SAFE.", true
	case few:
		return "RENEWALS ARE LESSER THAN THE THRESHOLD. THE SELF PRESERVATION MODE IS TURNED OFF. " +
			"THIS MAY NOT PROTECT INSTANCE EXPIRY IN CASE OF NETWORK/OTHER PROBLEMS.", true
	case !h.Preservation:
		return "THE SELF PRESERVATION MODE IS TURNED OFF. " +
			"THIS MAY NOT PROTECT INSTANCE EXPIRY IN CASE OF NETWORK/OTHER PROBLEMS.", false
	}
	return "", false
}

func newAppRow(app Application) appRow {
	row := appRow{Name: app.Name, Count: len(app.Instances)}
	zones := make(map[string]int)
	var order []string
	for _, in := range app.Instances {
		zone := in.zone()
		if zones[zone]++; zones[zone] == 1 {
			order = append(order, zone)
		}
		row.add(in)
	}
	for i, zone := range order {
		order[i] = fmt.Sprintf("%s (%d)", zone, zones[zone])
	}
	row.Zones = strings.Join(order, ", ")
	return row
}

func (row *appRow) add(in Instance) {
	l := link{ID: in.InstanceID}
	if strings.HasPrefix(in.StatusPageURL, "http") {
		l.URL = in.StatusPageURL
	}
	for i := range row.Statuses {
		if row.Statuses[i].Status == in.Status {
			row.Statuses[i].Instances = append(row.Statuses[i].Instances, l)
			return
		}
	}
	row.Statuses = append(row.Statuses, statusGroup{in.Status, []link{l}})
}

// zone is where an instance runs: Amazon says so itself, Spring in the metadata.
func (in *Instance) zone() string {
	if in.DataCenterInfo != nil && in.DataCenterInfo.Metadata["availability-zone"] != "" {
		return in.DataCenterInfo.Metadata["availability-zone"]
	}
	if zone := in.Metadata["zone"]; zone != "" {
		return zone
	}
	return "n/a"
}

// general is the table that the Netflix server calls General Info.
func (s *Server) general(now time.Time) []fact {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	const mb = 1 << 20
	var all, there, gone []string
	for _, n := range s.peers.others() {
		all = append(all, n.URL)
		if n.Available {
			there = append(there, n.URL)
		} else {
			gone = append(gone, n.URL)
		}
	}
	return []fact{
		{"server-uptime", uptime(now.Sub(s.started))},
		{"environment", environment},
		{"num-of-cpus", fmt.Sprint(runtime.NumCPU())},
		{"total-avail-memory", fmt.Sprintf("%dmb", memory.Sys/mb)},
		{"current-memory-usage", fmt.Sprintf("%dmb (%d%%)", memory.Alloc/mb, memory.Alloc*100/memory.Sys)},
		{"registered-replicas", strings.Join(all, ", ")},
		{"available-replicas", strings.Join(there, ", ")},
		{"unavailable-replicas", strings.Join(gone, ", ")},
	}
}

// uptime is like "2 days 03:04".
func uptime(d time.Duration) string {
	minutes := int(d / time.Minute)
	days, clock := minutes/(24*60), fmt.Sprintf("%02d:%02d", minutes/60%24, minutes%60)
	switch days {
	case 0:
		return clock
	case 1:
		return "1 day " + clock
	}
	return fmt.Sprintf("%d days %s", days, clock)
}

func (s *Server) dashboard(w http.ResponseWriter, _ *http.Request) error {
	return writePage(w, "dashboard", s.overview())
}

func (s *Server) lastN(w http.ResponseWriter, _ *http.Request) error {
	cancelled, registered := s.registry.recent()
	return writePage(w, "lastn", map[string][]event{"Cancelled": cancelled, "Registered": registered})
}

func writePage(w http.ResponseWriter, name string, data any) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
	_, _ = w.Write(b.Bytes()) // who has gone away needs no answer
	return nil
}

// status answers with the document of com.netflix.eureka.util.StatusInfo, always
// in JSON.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) error {
	general := make(map[string]string)
	for _, f := range s.general(s.now()) {
		general[f.Name] = f.Value
	}
	body, err := json.Marshal(struct {
		General      map[string]string `json:"generalStats"`
		Applications map[string]string `json:"applicationStats"`
		Instance     map[string]string `json:"instanceInfo"`
		Healthy      bool              `json:"isHeathly"` // misspelt by Netflix
	}{general, map[string]string{}, map[string]string{"status": string(StatusUp)}, true})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who has gone away needs no answer
	return nil
}
