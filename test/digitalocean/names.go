package digitalocean

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/digitalocean/godo"
)

// zone is a domain with its records.
type zone struct {
	godo.Domain

	records []godo.DomainRecord
}

func (s *Server) names() {
	answer := func(status int, z zone) (int, any, error) { return status, map[string]any{"domain": z.Domain}, nil }
	s.route("POST /v2/domains", func(r *http.Request) (int, any, error) {
		request, err := read[godo.DomainCreateRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if request.Name == "" {
			return 0, nil, unprocessable("Name can't be blank")
		}
		if s.domains.items[request.Name] != nil {
			return 0, nil, unprocessable("Name already exists")
		}
		e := s.domains.add(request.Name, zone{Domain: godo.Domain{Name: request.Name, TTL: 1800}}, 0)
		for _, host := range []string{"ns1", "ns2", "ns3"} {
			s.addRecord(e, godo.DomainRecord{Type: "NS", Name: "@", Data: host + ".digitalocean.com", TTL: 1800})
		}
		if request.IPAddress != "" {
			s.addRecord(e, godo.DomainRecord{Type: "A", Name: "@", Data: request.IPAddress, TTL: 3600})
		}
		return answer(http.StatusCreated, e.value)
	})
	s.route("GET /v2/domains", func(r *http.Request) (int, any, error) {
		return page(r, "domains", values(&s.domains, plain))
	})
	s.zone("GET", "", func(_ *http.Request, e *entry[zone]) (int, any, error) { return answer(http.StatusOK, e.value) })
	s.zone("DELETE", "", func(r *http.Request, _ *entry[zone]) (int, any, error) {
		s.domains.remove(r.PathValue("name"))
		return http.StatusNoContent, nil, nil
	})
	s.zone("GET", "/records", func(r *http.Request, e *entry[zone]) (int, any, error) {
		query := r.URL.Query()
		return page(r, "domain_records", slices.DeleteFunc(slices.Clone(e.value.records), func(record godo.DomainRecord) bool {
			full := record.Name + "." + e.value.Name
			if record.Name == "@" {
				full = e.value.Name
			}
			return query.Get("type") != "" && query.Get("type") != record.Type || query.Get("name") != "" && query.Get("name") != full
		}))
	})
	s.zone("POST", "/records", func(r *http.Request, e *entry[zone]) (int, any, error) {
		request, err := read[godo.DomainRecordEditRequest](r)
		if err != nil {
			return 0, nil, err
		}
		record := recordOf(request)
		if err := checkRecord(record); err != nil {
			return 0, nil, err
		}
		return http.StatusCreated, map[string]any{"domain_record": s.addRecord(e, record)}, nil
	})
	s.zone("GET", "/records/{id}", func(r *http.Request, e *entry[zone]) (int, any, error) {
		i := e.value.find(r.PathValue("id"))
		if i < 0 {
			return 0, nil, notFound()
		}
		return http.StatusOK, map[string]any{"domain_record": e.value.records[i]}, nil
	})
	s.zone("PUT", "/records/{id}", func(r *http.Request, e *entry[zone]) (int, any, error) {
		i := e.value.find(r.PathValue("id"))
		if i < 0 {
			return 0, nil, notFound()
		}
		request, err := read[godo.DomainRecordEditRequest](r)
		if err != nil {
			return 0, nil, err
		}
		record := recordOf(request)
		record.ID = e.value.records[i].ID
		if err := checkRecord(record); err != nil {
			return 0, nil, err
		}
		e.value.records[i] = record
		return http.StatusOK, map[string]any{"domain_record": record}, nil
	})
	s.zone("DELETE", "/records/{id}", func(r *http.Request, e *entry[zone]) (int, any, error) {
		i := e.value.find(r.PathValue("id"))
		if i < 0 {
			return 0, nil, notFound()
		}
		e.value.records = slices.Delete(e.value.records, i, i+1)
		return http.StatusNoContent, nil, nil
	})
}

// zone adds a route below a domain.
func (s *Server) zone(method, path string, h func(*http.Request, *entry[zone]) (int, any, error)) {
	s.route(method+" /v2/domains/{name}"+path, func(r *http.Request) (int, any, error) {
		e, err := s.domains.poll(r.PathValue("name"))
		if err != nil {
			return 0, nil, err
		}
		return h(r, e)
	})
}

func (z zone) find(id string) int {
	return slices.IndexFunc(z.records, func(record godo.DomainRecord) bool { return strconv.Itoa(record.ID) == id })
}

func (s *Server) addRecord(e *entry[zone], record godo.DomainRecord) godo.DomainRecord {
	s.records++
	record.ID = s.records
	e.value.records = append(e.value.records, record)
	return record
}

func recordOf(request godo.DomainRecordEditRequest) godo.DomainRecord {
	return godo.DomainRecord{Type: request.Type, Name: request.Name, Data: request.Data, Priority: request.Priority, Port: request.Port,
		TTL: max(30, request.TTL), Weight: request.Weight, Flags: request.Flags, Tag: request.Tag}
}

func checkRecord(record godo.DomainRecord) error {
	if !slices.Contains([]string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}, record.Type) {
		return unprocessable("Record type is invalid")
	}
	address, err := netip.ParseAddr(record.Data)
	if record.Type == "A" && (err != nil || !address.Is4()) || record.Type == "AAAA" && (err != nil || !address.Is6()) {
		return unprocessable("Data needs to be an IP address")
	}
	if record.Name == "" {
		return unprocessable("Name can't be blank")
	}
	return nil
}
