package eureka

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// An action is what a peer tells of an instance
// (com.netflix.eureka.registry.PeerAwareInstanceRegistryImpl.Action).
type action string

const (
	actionRegister     action = "Register"
	actionHeartbeat    action = "Heartbeat"
	actionCancel       action = "Cancel"
	actionStatus       action = "StatusUpdate"
	actionDeleteStatus action = "DeleteStatusOverride"
)

// A replica is one of the changes that a peer passes on
// (com.netflix.eureka.cluster.protocol.ReplicationInstance).
type replica struct {
	App        string    `json:"appName"`
	ID         string    `json:"id"`
	Dirty      dirtyTime `json:"lastDirtyTimestamp,omitempty"`
	Overridden Status    `json:"overriddenStatus,omitempty"`
	Status     Status    `json:"status,omitempty"`
	Instance   *Instance `json:"instanceInfo,omitempty"` // of a registration only
	Action     action    `json:"action"`
}

func (r *replica) key() key { return key{strings.ToUpper(r.App), r.ID} }

// dirtyTime is [Millis] where the protocol has a number.
type dirtyTime int64

// UnmarshalJSON reads a string or a number.
func (d *dirtyTime) UnmarshalJSON(data []byte) error { return (*Millis)(d).UnmarshalJSON(data) }

// The bodies of peerreplication/batch
// (com.netflix.eureka.cluster.protocol.ReplicationList and ReplicationListResponse).
type replicas struct {
	List []replica `json:"replicationList"`
}

type replicaResults struct {
	List []replicaResult `json:"responseList"`
}

// replicaResult is what came of a replica: a status of HTTP, and the instance that is newer than the peer's.
type replicaResult struct {
	Status   int       `json:"statusCode"`
	Instance *Instance `json:"responseEntity,omitempty"`
}

// maxBatch is far more than the 250 instances of a batch need.
const maxBatch = 16 << 20

// identityHeader tells nodes apart: one that looks for its peers by a name that stands for several addresses also finds itself.
const identityHeader = "DiscoveryIdentity-Id"

// replicate takes in what a peer passes on. Nothing of it is passed on again.
func (s *Server) replicate(w http.ResponseWriter, r *http.Request) error {
	var body io.Reader = http.MaxBytesReader(w, r.Body, maxBatch)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return badRequest("the request body is not compressed as Content-Encoding says: %v", err)
		}
		body = io.LimitReader(z, maxBatch)
	}
	data, err := io.ReadAll(body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &failure{http.StatusRequestEntityTooLarge, "the request body is larger than 16 MiB"}
	}
	if err != nil {
		return badRequest("the request body ended early")
	}
	var batch replicas
	if err := json.Unmarshal(data, &batch); err != nil {
		return badRequest("the request body is no replication list: %v", err)
	}
	results := replicaResults{List: []replicaResult{}}
	if r.Header.Get(identityHeader) != s.id {
		for _, replica := range batch.List {
			results.List = append(results.List, s.take(replica))
		}
	}
	answer, err := json.Marshal(results)
	if err != nil {
		return fmt.Errorf("encode responses: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.Copy(w, bytes.NewReader(answer)) // a peer that has gone away asks again
	return nil
}

// take does what a peer's client wanted.
func (s *Server) take(r replica) replicaResult {
	found := true
	switch k := r.key(); r.Action {
	case actionRegister:
		if r.Instance == nil {
			return replicaResult{Status: http.StatusInternalServerError}
		}
		r.Instance.normalize()
		if check(r.Instance, k.app) != nil {
			return replicaResult{Status: http.StatusBadRequest}
		}
		s.registry.register(*r.Instance, true)
	case actionHeartbeat:
		switch result, stored := s.registry.renew(k, heartbeat{Millis(r.Dirty), r.Overridden, true}); result {
		case unknown:
			found = false
		case conflict:
			return replicaResult{http.StatusConflict, &stored}
		}
	case actionCancel:
		found = s.registry.cancel(k)
	case actionStatus:
		if !r.Status.known() {
			return replicaResult{Status: http.StatusInternalServerError}
		}
		found = s.registry.override(k, r.Status, Millis(r.Dirty))
	case actionDeleteStatus:
		status := r.Status
		if !status.known() {
			status = StatusUnknown
		}
		found = s.registry.removeOverride(k, status, Millis(r.Dirty))
	default:
		return replicaResult{Status: http.StatusInternalServerError}
	}
	if !found {
		return replicaResult{Status: http.StatusNotFound}
	}
	return replicaResult{Status: http.StatusOK}
}
